#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "config/config_reader.h"
#include "data/transforms.h"
#include "models/connector.h"
#include "models/image_encoder.h"
#include "models/text_stack.h"
#include "objectives/contrastive.h"
#include "parallel/mesh.h"

// Keys that several tasks have, each bound and checked in one place.

namespace triptych::tasks {

/// `section`.width, layers, heads, feed_forward, of what kind a stack's blocks and positions are, and what `tp` asks of
/// them.
///   is_grid   the stack's sequence is an image's patches, not a line
void read_sizes(ConfigReader& reader, const std::string& section, TransformerSizes& sizes, bool is_grid,
                const MeshShape& mesh);

/// model.image: size, patch, the sizes; `pooling` too where the whole image is to have one state.
void read_image_encoder(ConfigReader& reader, ImageEncoderConfig& config, bool has_pooling, const MeshShape& mesh);

/// `section`: length, vocabulary, the sizes; `attention` too where `has_attention`.
void read_text_stack(ConfigReader& reader, const std::string& section, TextStackConfig& config, bool has_attention,
                     const MeshShape& mesh);

/// model.connector: kind, one of the connector's own or of `others`, which the task knows itself; queries and layers of
/// a resampler. Returns the kind's name.
std::string read_connector(ConfigReader& reader, ConnectorConfig& config, const std::vector<std::string>& others = {});

/// model.dropout.
void read_dropout(ConfigReader& reader, float& dropout);

/// model.embedding: dims of the space in which images and texts meet.
void read_embedding(ConfigReader& reader, int64_t& embedding);

/// objective.label_smoothing.
///   targets   what a target's share is spread over: "classes"
void read_label_smoothing(ConfigReader& reader, double& smoothing, std::string_view targets);

/// objective.<loss>_weight, above 0: what a loss counts in a sum of several.
void read_loss_weight(ConfigReader& reader, std::string_view loss, double& weight);

/// The most tokens of a text that are hidden where a share of them are, at least one. Checks that the stack has room
/// for a token to guess and for the mask token.
int64_t num_masked_tokens(ConfigReader& reader, const TextStackConfig& text, double share);

/// objective: kind, temperature, minimum_temperature, bias. A sample is a pair if it has its image and its text.
void read_contrastive(ConfigReader& reader, ContrastiveConfig& config);

/// data.fit, data.filter: how a picture becomes the square that a model sees. data.augment.
void read_augmentation(ConfigReader& reader, AugmentOptions& options);

}  // namespace triptych::tasks
