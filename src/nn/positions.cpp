#include "nn/positions.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "nn/decoding.h"
#include "ops/embedding.h"
#include "ops/slice.h"

namespace triptych::nn {
namespace {

constexpr float kSmall = 0.02f;  // the standard deviation of what is added to a sequence

// One row of the table for the token that is being decoded, else all of it, added to x.
Variable add_rows(const Variable& x, const Variable& rows, const Pass& pass) {
  if (pass.cache == nullptr) return add_positions(pass.laid_out(x, "stream"), rows);
  const Variable one = slice(pass.laid_out(rows, "replicated"), 0, pass.cache->position(), 1);
  return pass.laid_out(add_positions(pass.laid_out(x, "batch"), one), "stream");
}

// Where token `s` of a grid stands, or that it stands in front.
struct Cell {
  bool is_in_grid;
  double row, column;
};

Cell cell_of(const PositionGrid& grid, int64_t s) {
  const int64_t patch = s - grid.first();
  if (patch < 0) return {false, 0, 0};
  return {true, static_cast<double>(patch / grid.side), static_cast<double>(patch % grid.side)};
}

double frequency(double base, int64_t i, int64_t count) {
  return std::pow(base, -static_cast<double>(i) / static_cast<double>(count));
}

// The cubic convolution's weights of the four samples around a place `t` behind the second of them: Keys 1981, equation
// 8, with a = -0.75.
std::array<double, 4> cubic_weights(double t) {
  constexpr double a = -0.75;
  const auto near = [](double d) { return ((a + 2) * d - (a + 3)) * d * d + 1; };
  const auto far = [](double d) { return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a; };
  return {far(1 + t), near(t), near(1 - t), far(2 - t)};
}

}  // namespace

std::string_view position_name(PositionKind kind) {
  switch (kind) {
    case PositionKind::kLearned:
      return "learned";
    case PositionKind::kSinusoidal:
      return "sinusoidal";
    case PositionKind::kRotary:
      return "rotary";
    case PositionKind::kNone:
      return "none";
  }
  throw InternalError("positions", "no such kind");
}

std::vector<float> sinusoidal_positions(const PositionGrid& grid, int64_t width) {
  const int64_t divisor = grid.side > 0 ? 4 : 2, count = width / divisor;
  TRIPTYCH_CHECK(width % divisor == 0, "sinusoidal positions of width {}", width);
  std::vector<float> table(static_cast<std::size_t>(grid.sequence * width));
  for (int64_t s = 0; s < grid.sequence; ++s) {
    float* const row = table.data() + s * width;
    const Cell cell = grid.side > 0 ? cell_of(grid, s) : Cell{true, static_cast<double>(s), 0};
    if (!cell.is_in_grid) continue;
    for (int64_t i = 0; i < count; ++i) {
      const double step = frequency(10000, i, count);
      if (grid.side == 0) {
        row[2 * i] = static_cast<float>(std::sin(cell.row * step));
        row[2 * i + 1] = static_cast<float>(std::cos(cell.row * step));
        continue;
      }
      row[i] = static_cast<float>(std::sin(cell.column * step));
      row[count + i] = static_cast<float>(std::cos(cell.column * step));
      row[2 * count + i] = static_cast<float>(std::sin(cell.row * step));
      row[3 * count + i] = static_cast<float>(std::cos(cell.row * step));
    }
  }
  return table;
}

std::vector<float> rotary_angles(const PositionGrid& grid, int64_t head_dim, double base) {
  const int64_t half = head_dim / 2, count = grid.side > 0 ? half / 2 : half;  // angles of one coordinate
  TRIPTYCH_CHECK(head_dim % (grid.side > 0 ? 4 : 2) == 0, "rotary positions of heads of {} columns", head_dim);
  std::vector<float> table(static_cast<std::size_t>(grid.sequence * head_dim));
  for (int64_t s = 0; s < grid.sequence; ++s) {
    float* const cosines = table.data() + s * head_dim;
    const Cell cell = grid.side > 0 ? cell_of(grid, s) : Cell{true, static_cast<double>(s), 0};
    for (int64_t i = 0; i < half; ++i) {
      const double at = i < count ? cell.row : cell.column;
      const double angle = cell.is_in_grid ? at * frequency(base, i % count, count) : 0;
      cosines[i] = static_cast<float>(std::cos(angle));
      cosines[half + i] = static_cast<float>(std::sin(angle));
    }
  }
  return table;
}

LearnedPositions::LearnedPositions(ParameterStore& store, const std::string& name, const PositionGrid& grid,
                                   int64_t width)
    : positions_(&store.create(
          name + ".positions", Shape{grid.sequence, width}, "positions",
          {.standard_deviation = kSmall, .decay = true, .grid = grid.side > 0 ? std::optional(grid) : std::nullopt})) {}

Variable LearnedPositions::add_to(const Variable& x, const Pass& pass) const {
  const Variable rows = pass.use(*positions_);  // elsewhere where the pass has another plan than the parameters
  return add_rows(x, rows.layout() == pass.layout("positions") ? rows : pass.laid_out(rows, "positions"), pass);
}

Variable LearnedPositions::all(const Pass& pass) const {
  return pass.laid_out(pass.use(*positions_), "replicated");
}

Positions::Positions(ParameterStore& store, const std::string& name, PositionKind kind, const PositionGrid& grid,
                     int64_t width) {
  if (kind == PositionKind::kLearned) learned_.emplace(store, name, grid, width);
  if (kind != PositionKind::kSinusoidal) return;
  const std::vector<float> table = sinusoidal_positions(grid, width);
  fixed_ = Tensor::from<float>(store.device(), Shape{grid.sequence, width}, table);
}

Variable Positions::add_to(const Variable& x, const Pass& pass) const {
  if (learned_) return learned_->add_to(x, pass);
  if (!fixed_.defined()) return pass.laid_out(x, "stream");
  const Variable whole = Variable::constant(fixed_, fixed_.shape(), Layout());
  return add_rows(x, pass.laid_out(whole, "positions"), pass);
}

Variable Positions::all(const Pass& pass) const {
  if (learned_) return learned_->all(pass);
  return fixed_.defined() ? Variable::constant(fixed_, fixed_.shape(), Layout()) : Variable();
}

std::vector<float> interpolate_positions(std::span<const float> positions, const PositionGrid& from,
                                         const PositionGrid& to, int64_t width) {
  TRIPTYCH_CHECK(from.side > 0 && to.side > 0 && from.first() == to.first(),
                 "positions of a grid of {} with {} tokens in front for one of {} with {}", from.side, from.first(),
                 to.side, to.first());
  TRIPTYCH_CHECK(static_cast<int64_t>(positions.size()) == from.sequence * width, "{} positions of width {}, found {}",
                 from.sequence, width, positions.size());
  std::vector<float> result(positions.begin(), positions.begin() + static_cast<std::ptrdiff_t>(from.first() * width));
  result.resize(static_cast<std::size_t>(to.sequence * width));
  const float* const old = positions.data() + from.first() * width;
  float* const made = result.data() + to.first() * width;

  // The four old rows, or columns, around each new one, and their weights; centres are half a step inside.
  struct Samples {
    std::array<int64_t, 4> at;
    std::array<double, 4> weights;
  };
  std::vector<Samples> samples;
  for (int64_t i = 0; i < to.side; ++i) {
    const double place =
        (static_cast<double>(i) + 0.5) * static_cast<double>(from.side) / static_cast<double>(to.side) - 0.5;
    const double whole = std::floor(place);
    Samples& one = samples.emplace_back();
    one.weights = cubic_weights(place - whole);
    for (int64_t k = 0; k < 4; ++k) {
      one.at[static_cast<std::size_t>(k)] = std::clamp<int64_t>(static_cast<int64_t>(whole) - 1 + k, 0, from.side - 1);
    }
  }
  for (int64_t row = 0; row < to.side; ++row) {
    for (int64_t column = 0; column < to.side; ++column) {
      const Samples &in_rows = samples[static_cast<std::size_t>(row)],
                    &in_columns = samples[static_cast<std::size_t>(column)];
      for (int64_t c = 0; c < width; ++c) {
        double sum = 0;
        for (std::size_t y = 0; y < 4; ++y) {
          for (std::size_t x = 0; x < 4; ++x) {
            const float value = old[(in_rows.at[y] * from.side + in_columns.at[x]) * width + c];
            sum += in_rows.weights[y] * in_columns.weights[x] * static_cast<double>(value);
          }
        }
        made[(row * to.side + column) * width + c] = static_cast<float>(sum);
      }
    }
  }
  return result;
}

}  // namespace triptych::nn
