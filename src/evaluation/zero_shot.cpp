#include "evaluation/zero_shot.h"

#include <algorithm>
#include <cmath>

namespace triptych::evaluation {
namespace {

// As long as 1, in place; zeros stay.
void normalize(std::span<double> vector) {
  double squares = 0;
  for (const double x : vector) squares += x * x;
  if (squares == 0) return;
  for (double& x : vector) x /= std::sqrt(squares);
}

}  // namespace

std::string prompt_of(std::string_view prompt_template, std::string_view name) {
  std::string text;
  while (true) {
    const std::size_t place = prompt_template.find(kNamePlace);
    text += prompt_template.substr(0, place);
    if (place == std::string_view::npos) return text;
    text += name;
    prompt_template.remove_prefix(place + kNamePlace.size());
  }
}

Embeddings class_embeddings(std::span<const std::string> templates, std::span<const std::string> names, int64_t batch,
                            const EmbedTexts& embed) {
  std::vector<double> sums;
  std::size_t width = 0;
  const std::size_t count = names.size() * templates.size();
  for (std::size_t first = 0; first < count; first += static_cast<std::size_t>(batch)) {
    std::vector<std::string> texts;
    for (std::size_t i = first; i < std::min(count, first + static_cast<std::size_t>(batch)); ++i) {
      texts.push_back(prompt_of(templates[i % templates.size()], names[i / templates.size()]));
    }
    const std::vector<float> rows = embed(texts);
    width = rows.size() / texts.size();
    sums.resize(names.size() * width);
    for (std::size_t t = 0; t < texts.size(); ++t) {
      const auto begin = rows.begin() + static_cast<std::ptrdiff_t>(t * width);
      std::vector<double> row(begin, begin + static_cast<std::ptrdiff_t>(width));
      normalize(row);
      const std::size_t of_class = (first + t) / templates.size() * width;
      for (std::size_t d = 0; d < width; ++d) sums[of_class + d] += row[d];
    }
  }
  Embeddings classes{.width = static_cast<int64_t>(width), .rows = {}, .present = {}};
  for (std::size_t c = 0; c < names.size(); ++c) {
    const std::span<double> sum = std::span(sums).subspan(c * width, width);
    normalize(sum);
    classes.rows.insert(classes.rows.end(), sum.begin(), sum.end());
  }
  return classes;
}

}  // namespace triptych::evaluation
