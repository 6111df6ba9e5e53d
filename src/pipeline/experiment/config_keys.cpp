#include "pipeline/experiment/config_keys.hpp"

#include <fmt/format.h>

#include <limits>

#include "pipeline/experiment/config_members.hpp"

namespace halotile::config {
namespace {

namespace fs = std::filesystem;
using E = Experiment;

constexpr std::int64_t many = 1 << 20;
constexpr std::int64_t any_seed = std::numeric_limits<std::int64_t>::max();

constexpr TwoWords caches{"hot", "cold"};
constexpr TwoWords places{"host", "device"};
constexpr TwoWords uploads{"fp32", "uint8"};

// Of the kinds of input, this one.
template <typename Source>
const Source* source(const E& e) {
  return std::get_if<Source>(&e.input.source);
}

Json images(const E& e) {
  const auto* const input = source<ImageInput>(e);
  if (input == nullptr) return nullptr;
  Json paths = Json::array();
  for (const fs::path& path : input->paths) paths.push_back(path.string());
  return paths;
}

void set_images(E& e, const Json& json) {
  ImageInput input;
  for (const Json& path : json) input.paths.emplace_back(path.get<std::string>());
  e.input.source = std::move(input);
}

template <auto side>
Json input_side(const E& e) {
  return e.input.extent ? Json((*e.input.extent).*side) : Json();
}

template <auto side>
void set_input_side(E& e, const Json& json) {
  if (!e.input.extent) e.input.extent.emplace();
  json.get_to((*e.input.extent).*side);
}

Json crops(const E& e) {
  if (e.crops.kind == CropsConfig::Kind::random) return nullptr;
  return e.crops.kind == CropsConfig::Kind::ten ? "ten" : "center";
}

Json patch_size(const E& e) {
  if (e.patch.kind == PatchSpec::Kind::grid) return nullptr;
  return e.patch.kind == PatchSpec::Kind::whole ? Json("whole") : Form<Extent2>::json(e.patch.value);
}

void set_patch(E& e, PatchSpec::Kind kind, const Json& json) {
  e.patch = {kind, {}};
  Form<Extent2>::read(e.patch.value, json);
}

Json stages(const E& e) {
  if (e.stages.kind == StagesConfig::Kind::groups) return e.stages.groups;
  return e.stages.kind == StagesConfig::Kind::fused ? "fused" : "per_conv";
}

void set_stages(E& e, const Json& json) {
  e.stages = {};
  if (json.is_array()) {
    e.stages.kind = StagesConfig::Kind::groups;
    json.get_to(e.stages.groups);
  } else if (json == "fused") {
    e.stages.kind = StagesConfig::Kind::fused;
  }
}

Json sub_batch(const E& e) {
  if (e.first_sub_batches.empty()) return e.sub_batch;
  Json sizes = e.first_sub_batches;
  sizes.push_back(e.sub_batch);
  return sizes;
}

void set_sub_batch(E& e, const Json& json) {
  e.first_sub_batches.clear();
  if (json.is_array()) json.get_to(e.first_sub_batches);
  e.sub_batch = json.is_array() ? e.first_sub_batches.back() : json.get<std::int64_t>();
  if (json.is_array()) e.first_sub_batches.pop_back();
}

std::string trace_problem(const E& e) {
  if (e.trace != e.name + ".run.json") return {};
  return fmt::format("is '{}', where the result goes; choose another name", e.trace);
}

using D = DropoutConfig;
using I = InputConfig;
using M = MeasureSettings;
using O = OutputConfig;
using P = Preprocess;

constexpr std::string_view no_photographs = "belongs to photographs; give input.images, or leave labels out";
constexpr std::string_view no_pixels =
    "is 'uint8', but only photographs (input.images) have 8-bit pixels; leave it out";

const std::vector<Key>& table() {
  static const std::vector<Key> rows{
      member<&E::model>({.name = "model",
                         .type = Path{},
                         .required = true,
                         .example = "model: models/alexnet.yaml",
                         .fallback = "required",
                         .meaning = "model file"}),
      member<&E::until>(
          {.name = "until",
           .type = Text{},
           .fallback = "all layers",
           .meaning = "name of the last layer to run, for example `pool5` for the feature maps alone"}),

      {.name = "weights"},
      {.name = "weights.random",
       .type = WholeNumber{0, any_seed},
       .get = [](const E& e) { return e.weights.file.empty() ? Json(e.weights.seed) : Json(); },
       .set = [](E& e, const Json& json) { json.get_to(e.weights.seed); },
       .meaning =
           "seed of the He initialization: the same bits on every machine; such weights classify nothing"},
      {.name = "weights.file",
       .type = Path{},
       .instead_of = "weights.random",
       .get = [](const E& e) { return e.weights.file.empty() ? Json() : Json(e.weights.file.string()); },
       .set = [](E& e, const Json& json) { e.weights.file = json.get<std::string>(); },
       .meaning = "instead of `random`: a safetensors or `.npz` file with the weights, see "
                  "[networks.md](networks.md)"},
      {.name = "weights.rename",
       .type = Names{},
       .get = [](const E& e) { return e.weights.file.empty() ? Json() : Json(e.weights.rename); },
       .set = [](E& e, const Json& json) { json.get_to(e.weights.rename); },
       .fallback = "the model's",
       .meaning =
           "`{features.0: conv1}`: names of layers in that file and what the model calls them; goes before "
           "the model's own"},

      {.name = "input", .required = true, .example = "input: {images: [photos], batch: 32}"},
      {.name = "input.random",
       .type = WholeNumber{0, any_seed},
       .required = true,
       .example = "random: SEED",
       .get = [](const E& e) { return source<RandomInput>(e) ? Json(source<RandomInput>(e)->seed) : Json(); },
       .set = [](E& e, const Json& json) { e.input.source = RandomInput{json.get<std::uint64_t>()}; },
       .fallback = "one of `random`, `images`, `file` is required",
       .meaning = "seed of synthetic values in [-1, 1), the same bits on every machine"},
      {.name = "input.images",
       .type = Path{true},
       .example = "images: [folder, photo.jpg]",
       .instead_of = "input.random",
       .get = images,
       .set = set_images,
       .meaning = "files and folders of JPEG and PNG photographs"},
      {.name = "input.file",
       .type = Path{},
       .example = "file: x.npy",
       .instead_of = "input.random",
       .get =
           [](const E& e) { return source<NpyInput>(e) ? Json(source<NpyInput>(e)->file.string()) : Json(); },
       .set = [](E& e, const Json& json) { e.input.source = NpyInput{json.get<std::string>()}; },
       .meaning =
           "`.npy` file, (N, C, H, W), of any spelling of bool, int8 to int64, uint8 to uint64, float16, "
           "float32 or float64 that NumPy reads, in C or Fortran order and either byte order; made float32 "
           "by "
           "value (true is 1, pixels are not divided by 255)"},
      {.name = "input.labels",
       .type = Path{},
       .needs = "input.images",
       .unmet = no_photographs,
       .decides_result = false,
       .get = [](const E& e) { return e.input.labels.empty() ? Json() : Json(e.input.labels.string()); },
       .set = [](E& e, const Json& json) { e.input.labels = json.get<std::string>(); },
       .fallback = "none",
       .meaning =
           "CSV file with the head `file,label`: the classes of photographs; `run` then tells the accuracy, "
           "see [networks.md](networks.md)"},
      member<&E::input, &I::batch>(
          {.name = "input.batch",
           .type = WholeNumber{1, many},
           .fallback = "all images, at most 32 (3 with `crops: ten`); 1 for `random`",
           .meaning = "images per forward pass"}),
      choice<&E::input, &I::on_error>({.name = "input.on_error",
                                       .decides_result = false,
                                       .meaning = "`stop`: an image that cannot be read ends `run`; `skip`: "
                                                  "it is reported and left out (`verify` always stops)"}),
      member<&E::input, &I::decoders>(
          {.name = "input.decoders",
           .type = WholeNumber{1, 256, "auto"},
           .decides_result = false,
           .fallback = "auto: half of the cores",
           .meaning = "threads that read and preprocess the images of coming batches"}),
      {.name = "input.height",
       .type = WholeNumber{1, largest_size},
       .together_with = "input.width",
       .get = input_side<&Extent2::height>,
       .set = set_input_side<&Extent2::height>,
       .fallback = "the model's",
       .meaning = "replaces the model's input height, together with `width`"},
      {.name = "input.width",
       .type = WholeNumber{1, largest_size},
       .together_with = "input.height",
       .get = input_side<&Extent2::width>,
       .set = set_input_side<&Extent2::width>,
       .fallback = "the model's",
       .meaning = "replaces the model's input width, together with `height`"},
      flag<uploads, &E::input, &I::pixels>(
          {.name = "input.upload",
           .needs = "input.images",
           .unmet = no_pixels,
           .meaning =
               "`uint8`: photographs go to the GPU as 8-bit pixels and are normalized there, to the same "
               "bits; no effect on the CPU"}),

      {.name = "preprocess"},
      member<&E::preprocess, &P::resize>(
          {.name = "preprocess.resize",
           .type = WholeNumber{1, many},
           .fallback = "no resizing",
           .meaning = "shorter side in pixels, as torchvision's Resize on Pillow images"}),
      member<&E::preprocess, &P::crop>({.name = "preprocess.crop",
                                        .type = Extent{1, many},
                                        .fallback = "the network's input",
                                        .meaning = "centre crop"}),
      choice<&E::preprocess, &P::interpolation>(
          {.name = "preprocess.interpolation", .meaning = "antialiased"}),
      choice<&E::preprocess, &P::resize_order>(
          {.name = "preprocess.resize_order",
           .before = "pillow12",
           .meaning =
               "which Pillow's resize: `pillow13`, that of 13.0 (rows go first where more than twice as "
               "many rows as columns are lost: photographs more than twice as tall as wide), or "
               "`pillow12`, that of 12 and all before it; other sizes do not differ, see "
               "[networks.md](networks.md)"}),
      member<&E::preprocess, &P::mean>({.name = "preprocess.mean",
                                        .type = Channels{-1e6, 1e6},
                                        .fallback = "ImageNet's",
                                        .meaning = "red, green and blue, on the scale [0, 1]"}),
      member<&E::preprocess, &P::stddev>({.name = "preprocess.std",
                                          .type = Channels{1e-6, 1e6},
                                          .fallback = "ImageNet's",
                                          .meaning = "as `mean`"}),
      {.name = "preprocess.crops",
       .type = Choice{{"center", "ten"}},
       .get = crops,
       .set =
           [](E& e, const Json& json) {
             e.crops = {json == "ten" ? CropsConfig::Kind::ten : CropsConfig::Kind::center, 0};
           },
       .meaning = "`ten`: corners, centre and their mirror images, probabilities averaged"},
      {.name = "preprocess.augment", .instead_of = "preprocess.crops"},
      {.name = "preprocess.augment.seed",
       .type = WholeNumber{0, any_seed},
       .required = true,
       .example = "seed: 1",
       .get =
           [](const E& e) { return e.crops.kind == CropsConfig::Kind::random ? Json(e.crops.seed) : Json(); },
       .set =
           [](E& e, const Json& json) {
             e.crops = {CropsConfig::Kind::random, json.get<std::uint64_t>()};
           },
       .meaning = "instead of `crops`: a random crop of each photograph, mirrored or not, from this seed"},

      {.name = "dropout"},
      member<&E::dropout, &D::samples>(
          {.name = "dropout.samples",
           .type = WholeNumber{1, many},
           .required = true,
           .example = "samples: 20",
           .fallback = "none",
           .meaning = "Monte Carlo dropout: forward passes with random masks for each image (CPU engines)"}),
      member<&E::dropout, &D::seed>(
          {.name = "dropout.seed", .type = WholeNumber{0, any_seed}, .meaning = "of the masks"}),

      member<&E::device>(
          {.name = "device",
           .type = Device{},
           .meaning =
               "`auto` takes a GPU when one is usable and engine and precision allow, otherwise the CPU, and "
               "says why on standard error and as `device_note`"}),
      choice<&E::engine>({.name = "engine",
                          .meaning =
                              "`onednn` and `reference` (CPU), `direct`, `tensor_core` and, where cuDNN is, "
                              "`cudnn` (CUDA); see [engines.md](engines.md)"}),
      {.name = "direct"},
      choice<&E::direct_stage>(
          {.name = "direct.stage",
           .meaning =
               "what convolutions of `direct` keep in shared memory: `input` (with its halo), `filter`, or "
               "whichever is expected to be faster"}),
      choice<&E::precision>(
          {.name = "precision",
           .meaning =
               "`bf16` where the engine and the CPU have it, or on a GPU; `fp16` and `tf32` on a GPU. With "
               "`engine: tensor_core`, `fp32` is three products of tf32 values (Hopper)"}),

      {.name = "patch", .type = Section{"whole"}},
      {.name = "patch.size",
       .type = Extent{1, largest_size, "whole"},
       .patching = true,
       .get = patch_size,
       .set =
           [](E& e, const Json& json) {
             e.patch = {};
             if (json != "whole") set_patch(e, PatchSpec::Kind::size, json);
           },
       .meaning = "patch edge in image pixels"},
      {.name = "patch.grid",
       .type = Extent{1, 1 << 18},
       .instead_of = "patch.size",
       .patching = true,
       .get =
           [](const E& e) {
             return e.patch.kind == PatchSpec::Kind::grid ? Form<Extent2>::json(e.patch.value) : Json();
           },
       .set = [](E& e, const Json& json) { set_patch(e, PatchSpec::Kind::grid, json); },
       .meaning = "instead of size: tiles per stage, [down, across]"},
      {.name = "patch.stages",
       .type = Groups{{"per_conv", "fused"}},
       .patching = true,
       .get = stages,
       .set = set_stages,
       .meaning =
           "`per_conv`: each convolution and each pool, with the pointwise layers behind it, is a stage; "
           "with "
           "`tensor_core` an LRN right before a max pool belongs to the pool; `fused`: all spatial layers in "
           "one; or lists of layer names: `[[conv1, pool1], [conv2]]`"},
      choice<&E::storage>(
          {.name = "patch.storage",
           .patching = true,
           .meaning =
               "`view`: tiles are views of the map; `packed`: each tile is copied out and its core copied "
               "back; on CUDA all tiles of a stage in one launch each way, their keys sorted and checked in "
               "between (with `memory: pool` one by one)"}),
      member<&E::streams>({.name = "streams",
                           .type = WholeNumber{1, 256},
                           .patching = true,
                           .meaning = "in-order queues that tiles are dealt to"}),
      member<&E::threads>({.name = "threads",
                           .type = WholeNumber{1, 1024, "auto"},
                           .fallback = "auto: cores / streams",
                           .meaning = "threads inside each stream (reference: always 1)"}),
      {.name = "sub_batch",
       .type = Sizes{1, many, "all"},
       .patching = true,
       .get = sub_batch,
       .set = set_sub_batch,
       .fallback = "all",
       .meaning =
           "images handed to a stream at a time; a list (`[8, 16, 32]`) gives sizes in order, the last one "
           "for all that is left: small ones first let work begin before much is copied, small ones last "
           "leave little to do behind the last copy"},
      choice<&E::dispatch>(
          {.name = "dispatch",
           .patching = true,
           .meaning =
               "how tiles reach the device: `streams`: queued by the host in every run; `graph` (CUDA): "
               "captured in the second run, replayed from then on; `batched` (CUDA, one stream): all tiles "
               "of "
               "a stage take each of its steps together, in one launch where the engine can, captured and "
               "replayed too. Tiles of stages with several steps, `storage: view`, go in parts that keep the "
               "borders of what they computed for later parts instead of repeating them "
               "([how](tensor_core.md#dispatch))"}),
      choice<&E::memory>(
          {.name = "memory",
           .meaning =
               "where device memory comes from: `arena`: planned and allocated once; `pool` (CUDA): maps of "
               "chunks and tiles in flight from a pool in the streams' order, in every run"}),

      {.name = "output"},
      member<&E::output, &O::directory>({.name = "output.directory",
                                         .type = Folder{},
                                         .decides_result = false,
                                         .meaning = "where results go"}),
      member<&E::output, &O::save>(
          {.name = "output.save",
           .type = FileNames{".npy"},
           .decides_result = false,
           .fallback = "nothing",
           .meaning =
               "`{layer: file.npy}`: save a layer's map as (N, C, H, W) float32; `logits` is the last layer "
               "before softmax"}),
      {.name = "sweep",
       .type = Axes{},
       .decides_result = false,
       .fallback = "none",
       .meaning = "`{patch.size: [32, 64, whole], streams: [1, 2]}`: what `halotile sweep` varies, see "
                  "[sweeps.md](sweeps.md); the other commands only check it"},

      {.name = "measure"},
      member<&E::measure, &M::warmup>({.name = "measure.warmup",
                                       .type = WholeNumber{0, 1'000'000},
                                       .decides_result = false,
                                       .meaning = "runs that do not count"}),
      member<&E::measure, &M::min_runs>(
          {.name = "measure.min_runs",
           .type = WholeNumber{1, 1'000'000},
           .decides_result = false,
           .meaning = "runs that do, at least; with fewer than 6, too few for an interval, just as many"}),
      member<&E::measure, &M::max_seconds>({.name = "measure.max_seconds",
                                            .type = Number{0, 1e6},
                                            .decides_result = false,
                                            .meaning = "no new run starts after this"}),
      member<&E::measure, &M::tightness>(
          {.name = "measure.tightness",
           .type = Number{1e-4, 1},
           .decides_result = false,
           .meaning =
               "runs are made until the 95% interval of their median is narrower than this share of it, see "
               "[sweeps.md](sweeps.md)"}),
      flag<caches, &E::measure, &M::cold>(
          {.name = "measure.cache", .meaning = "`cold`: caches are emptied before each run"}),
      flag<places, &E::resident_input>(
          {.name = "measure.input",
           .meaning =
               "where the input is when a timed run starts: `host`, or `device` (copied there before); no "
               "effect on the CPU"}),
      flag<places, &E::resident_output>({.name = "measure.output",
                                         .meaning = "where outputs are when a timed run ends: `host`, or "
                                                    "`device` (copied from there when all runs "
                                                    "are done); no effect on the CPU"}),
      member<&E::trace>({.name = "measure.trace",
                         .type = FileName{".json"},
                         .decides_result = false,
                         .problem = trace_problem,
                         .fallback = "none",
                         .meaning =
                             "file in `output.directory`, ending in `.json`: the trace of one more run, see "
                             "[Traces](#traces)"}),
  };
  return rows;
}

}  // namespace

std::span<const Key> keys() { return table(); }

}  // namespace halotile::config
