// Draws a stage's tiles on the image they are cut from.
#pragma once

#include <filesystem>

#include "formats/image.hpp"
#include "patching/plan.hpp"

namespace halotile {

/// Draws cores (lines), halos (dashed) and keys of `stage` on `photo`, which stands for the stage's input
/// map, as a PNG. One tile in the middle is drawn in full. Throws UnsupportedError in a build without Cairo,
/// FormatError when the file cannot be written.
void draw_plan(const StagePlan& stage, std::int64_t stage_number, const Image& photo,
               const std::filesystem::path& file);

}  // namespace halotile
