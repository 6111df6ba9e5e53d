#include "program/plan_picture.hpp"

#include "patching/error.hpp"

#ifndef HALOTILE_HAS_CAIRO

namespace halotile {

void draw_plan(const StagePlan&, std::int64_t, const Image&, const std::filesystem::path&) {
  throw UnsupportedError(
      "--image: this build has no Cairo to draw with; install libcairo2-dev and build again");
}

}  // namespace halotile

#else

#include <cairo.h>
#include <fmt/format.h>

#include <array>
#include <memory>
#include <vector>

#include "formats/atomic_file.hpp"

namespace halotile {
namespace {

struct Destroy {
  void operator()(cairo_t* c) const { cairo_destroy(c); }
  void operator()(cairo_surface_t* s) const { cairo_surface_destroy(s); }
};
using Surface = std::unique_ptr<cairo_surface_t, Destroy>;
using Context = std::unique_ptr<cairo_t, Destroy>;

using Color = std::array<double, 3>;
constexpr Color core_color{1.0, 1.0, 1.0};
constexpr Color halo_color{1.0, 0.78, 0.2};
constexpr Color chosen_color{0.2, 0.85, 1.0};

// From positions of the stage's input map to pixels of the picture.
struct Scale {
  double x;
  double y;
};

void set_color(cairo_t* c, const Color& color, double alpha) {
  cairo_set_source_rgba(c, color[0], color[1], color[2], alpha);
}

void add_rect(cairo_t* c, const Rect& rect, Scale s) {
  cairo_rectangle(c, s.x * static_cast<double>(rect.cols.begin), s.y * static_cast<double>(rect.rows.begin),
                  s.x * static_cast<double>(rect.cols.size()), s.y * static_cast<double>(rect.rows.size()));
}

Surface photo_surface(const Image& photo) {
  Surface surface(cairo_image_surface_create(CAIRO_FORMAT_RGB24, static_cast<int>(photo.width),
                                             static_cast<int>(photo.height)));
  unsigned char* const pixels = cairo_image_surface_get_data(surface.get());
  const int stride = cairo_image_surface_get_stride(surface.get());
  for (std::int64_t y = 0; y < photo.height; ++y) {
    for (std::int64_t x = 0; x < photo.width; ++x) {
      const std::uint8_t* const rgb = &photo.rgb[static_cast<std::size_t>((y * photo.width + x) * 3)];
      unsigned char* const out = pixels + y * stride + x * 4;
      out[0] = rgb[2];
      out[1] = rgb[1];
      out[2] = rgb[0];
    }
  }
  cairo_surface_mark_dirty(surface.get());
  return surface;
}

// The share of the stage's input that the core stands on: the needed rectangle less its halo.
Rect owned(const StagePlan& stage, std::int64_t row, std::int64_t column) {
  const Rect need = stage.needed(row, column, stage.inputs().front());
  const Halo halo = stage.halo(row, column);
  return {{need.rows.begin + halo.top, need.rows.end - halo.bottom},
          {need.cols.begin + halo.left, need.cols.end - halo.right}};
}

void label(cairo_t* c, const std::string& text, double x, double y, double size, const Color& color) {
  cairo_select_font_face(c, "DejaVu Sans", CAIRO_FONT_SLANT_NORMAL, CAIRO_FONT_WEIGHT_BOLD);
  cairo_set_font_size(c, size);
  cairo_text_extents_t extents{};
  cairo_text_extents(c, text.c_str(), &extents);
  cairo_move_to(c, x - extents.width / 2 - extents.x_bearing, y - extents.height / 2 - extents.y_bearing);
  cairo_text_path(c, text.c_str());
  cairo_set_source_rgba(c, 0, 0, 0, 0.75);
  cairo_set_line_width(c, size / 5);
  cairo_stroke_preserve(c);
  set_color(c, color, 1);
  cairo_fill(c);
}

cairo_status_t append(void* bytes, const unsigned char* data, unsigned int length) {
  auto& out = *static_cast<std::vector<std::byte>*>(bytes);
  const auto* const begin = reinterpret_cast<const std::byte*>(data);
  out.insert(out.end(), begin, begin + length);
  return CAIRO_STATUS_SUCCESS;
}

}  // namespace

void draw_plan(const StagePlan& stage, std::int64_t stage_number, const Image& photo,
               const std::filesystem::path& file) {
  constexpr double long_side = 960;
  constexpr double caption = 34;
  const double zoom = long_side / static_cast<double>(std::max(photo.width, photo.height));
  const double width = zoom * static_cast<double>(photo.width);
  const double height = zoom * static_cast<double>(photo.height);
  const Extent2 in = stage.graph().values[stage.inputs().front()].extent;
  const Scale scale{width / static_cast<double>(in.width), height / static_cast<double>(in.height)};

  const Surface canvas(cairo_image_surface_create(CAIRO_FORMAT_RGB24, static_cast<int>(width),
                                                  static_cast<int>(height + caption)));
  const Context context(cairo_create(canvas.get()));
  cairo_t* const c = context.get();
  {
    const Surface picture = photo_surface(photo);
    cairo_save(c);
    cairo_scale(c, zoom, zoom);
    cairo_set_source_surface(c, picture.get(), 0, 0);
    cairo_paint_with_alpha(c, 0.85);
    cairo_restore(c);
  }

  const Extent2 grid = stage.grid();
  const std::int64_t chosen_row = grid.height / 2;
  const std::int64_t chosen_column = grid.width / 2;
  const auto each_tile = [&](const auto& draw) {
    for (std::int64_t row = 0; row < grid.height; ++row) {
      for (std::int64_t column = 0; column < grid.width; ++column) {
        if (!stage.needed(row, column, stage.inputs().front()).empty()) draw(row, column);
      }
    }
  };
  const std::array<double, 2> dash{5, 4};
  cairo_set_dash(c, dash.data(), 2, 0);
  cairo_set_line_width(c, 1);
  set_color(c, halo_color, 0.8);
  each_tile([&](std::int64_t row, std::int64_t column) {
    add_rect(c, stage.needed(row, column, stage.inputs().front()), scale);
  });
  cairo_stroke(c);
  cairo_set_dash(c, nullptr, 0, 0);
  cairo_set_line_width(c, 1.5);
  set_color(c, core_color, 0.9);
  each_tile([&](std::int64_t row, std::int64_t column) { add_rect(c, owned(stage, row, column), scale); });
  cairo_stroke(c);

  const Rect chosen = stage.needed(chosen_row, chosen_column, stage.inputs().front());
  if (!chosen.empty()) {
    // The halo alone is filled: the needed rectangle with the core as a hole.
    cairo_set_fill_rule(c, CAIRO_FILL_RULE_EVEN_ODD);
    add_rect(c, chosen, scale);
    add_rect(c, owned(stage, chosen_row, chosen_column), scale);
    set_color(c, chosen_color, 0.45);
    cairo_fill(c);
    cairo_set_line_width(c, 3);
    set_color(c, chosen_color, 1);
    add_rect(c, owned(stage, chosen_row, chosen_column), scale);
    cairo_stroke(c);
  }
  const double cell =
      std::min(width / static_cast<double>(grid.width), height / static_cast<double>(grid.height));
  const double size = std::min(18.0, cell / 3.2);
  if (size >= 6) {
    each_tile([&](std::int64_t row, std::int64_t column) {
      const Rect rect = owned(stage, row, column);
      const auto middle = [](Interval i) { return 0.5 * static_cast<double>(i.begin + i.end); };
      label(c, fmt::format("{},{}", row, column), scale.x * middle(rect.cols), scale.y * middle(rect.rows),
            size, row == chosen_row && column == chosen_column ? chosen_color : core_color);
    });
  }

  cairo_rectangle(c, 0, height, width, caption);
  cairo_set_source_rgb(c, 0.08, 0.09, 0.11);
  cairo_fill(c);
  const Halo halo = stage.halo(chosen_row, chosen_column);
  label(c,
        fmt::format("stage {} ({}): {} tiles; solid: cores, dashed: with halo; tile {},{} reads +{} "
                    "top +{} left +{} "
                    "bottom +{} right",
                    stage_number, stage.name(), to_string(grid), chosen_row, chosen_column, halo.top,
                    halo.left, halo.bottom, halo.right),
        width / 2, height + caption / 2, 13, core_color);

  std::vector<std::byte> png;
  if (cairo_surface_write_to_png_stream(canvas.get(), append, &png) != CAIRO_STATUS_SUCCESS) {
    throw FormatError(file.string() + ": the picture could not be drawn");
  }
  write_file_atomically(file, png);
}

}  // namespace halotile

#endif
