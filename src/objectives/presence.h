#pragma once

#include <span>
#include <string>

#include "tensor/field.h"

// What an objective needs of a sample, by the names of fields of presence ("image_present"), uint8 [B]. A sample that
// lacks one of them stays in the batch, and the objective leaves it out of its terms and of their count.

namespace triptych::objectives {

/// Which samples have all of it: 0 where one lacks something, uint8 [B]. Undefined where nothing is needed.
Tensor present_samples(const Fields& fields, std::span<const std::string> needs);

/// A field of targets, int32 [B, ...], and -1 all over the samples that lack something of it.
Tensor targets_of_present_samples(const Fields& fields, const std::string& field, std::span<const std::string> needs);

}  // namespace triptych::objectives
