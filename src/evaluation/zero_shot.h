#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "evaluation/retrieval.h"

namespace triptych::evaluation {

/// Where a class's name stands in a template.
inline constexpr std::string_view kNamePlace = "{}";

/// The template with the name in the place of each "{}".
std::string prompt_of(std::string_view prompt_template, std::string_view name);

/// Embeddings of texts, row-major [texts, width], of any length.
using EmbedTexts = std::function<std::vector<float>(std::span<const std::string> texts)>;

/// What each class is compared by (Radford et al. 2021, section 3.1.4): the embeddings of all templates with its name,
/// each made as long as 1, their mean, made as long as 1 again; zeros where that is 0. [classes, width].
///   batch   texts that are embedded at once
/// Memory: classes * width, however many templates there are. Calls `embed` equally often wherever it is called with
/// equal templates and names.
Embeddings class_embeddings(std::span<const std::string> templates, std::span<const std::string> names, int64_t batch,
                            const EmbedTexts& embed);

}  // namespace triptych::evaluation
