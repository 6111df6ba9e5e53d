// The tiles of a point on the image that they are cut from, for the page to draw.
#pragma once

#include <nlohmann/json.hpp>

#include "sweeping/record.hpp"

namespace halotile {

/// {image: a data URI or null, note, stages: [{name, input, output, rows, columns}]}; a row or column is
/// [begin, end) of what a tile reads and [begin, end) of its own share of it, in positions of the stage's
/// input. Where the model cannot be read any more only `note` is there and says why; where the photograph
/// cannot, the stages have no image under them.
[[nodiscard]] nlohmann::json tile_picture(const PointRecord& point);

}  // namespace halotile
