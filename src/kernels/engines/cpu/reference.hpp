// The `reference` engine: plain fp32, one fixed order of fused multiply-adds for every output element. CUDA's
// `direct` engine repeats these orders bit for bit. All fp32, round to nearest even, fma = one rounding.
//
//   conv2d           acc = 0; for ky, for kx, for c (channels of the group), ascending: acc = fma(x, w, acc),
//                    where x = 0 outside the image (the multiplication is done there too);
//                    y = acc + bias (when present)
//   fully_connected  the features are cut into segments of 128; per segment acc = 0,
//                    ascending acc = fma(x, w, acc); total = segment 0, then ascending total = total +
//                    segment; y = total + bias (when present)
//   relu             y = x < 0 ? 0 : x  (keeps -0 and NaN)
//   lrn              s = 0; ascending channels of the window inside the map: s = fma(x, x, s);
//                    d = fma(alpha / size, s, k); beta 0.75: y = x / (sqrt(d) * sqrt(sqrt(d)));
//                    0.5: x / sqrt(d); 1: x / d; otherwise x / powf(d, beta)
//   max pool         ascending ky, kx inside the image: m = (x > m || x is NaN) ? x : m, from -infinity
//   average pool     s = 0; ascending ky, kx inside the image: s = s + x; y = s / count, or 0 when count is 0
//   softmax          m = max; s = sum ascending of expf(x - m); y = expf(x - m) / s   (not across devices)
//
// Shared by all: `in.rect` holds at least what the outputs `out.rect` need; what lies outside in.rect, or
// outside the image, reads as padding. Maps are f32 here. Views of images: in.images == out.images.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/engines/exact_sums.hpp"
#include "kernels/engines/op.hpp"
#include "kernels/maps/map.hpp"

namespace halotile::reference {

/// `weight_khwc` is the weight reordered as (out, ky, kx, c) by conv2d_weight_order.
void conv2d(const Conv2d& layer, std::span<const float> weight_khwc, const ConstMapView& in,
            const MapView& out);

/// Outputs [features.begin, features.end): out.channels == features.size(); in and out have rect 1x1.
void fully_connected(const FullyConnected& layer, Interval features, const ConstMapView& in,
                     const MapView& out);

}  // namespace halotile::reference
