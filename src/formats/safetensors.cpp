#include "formats/safetensors.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "formats/float_types.hpp"
#include "formats/mapped_file.hpp"
#include "formats/printable.hpp"
#include "patching/error.hpp"

namespace halotile {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors elements are copied as they are");

constexpr std::size_t kLengthBytes = 8;
constexpr std::uint64_t kMaxHeader = 100'000'000;  // the reference implementation's limit
constexpr std::size_t kMaxRank = 64;               // PyTorch's and NumPy's
constexpr std::string_view kMetadata = "__metadata__";

/// Convert `count` elements at `bytes` (any alignment); return how many, fewer when the next one is too
/// large.
std::size_t copy_floats(const std::byte* bytes, std::size_t count, float* out) {
  if (count > 0) std::memcpy(out, bytes, count * sizeof(float));
  return count;
}

std::size_t convert_doubles(const std::byte* bytes, std::size_t count, float* out) {
  for (std::size_t i = 0; i < count; ++i) {
    double value = 0;
    std::memcpy(&value, bytes + i * sizeof(value), sizeof(value));
    if (too_large_for_float(value)) return i;
    out[i] = static_cast<float>(value);
  }
  return count;
}

template <float (*to_float)(std::uint16_t)>
std::size_t convert_16_bit(const std::byte* bytes, std::size_t count, float* out) {
  for (std::size_t i = 0; i < count; ++i) {
    std::uint16_t bits = 0;
    std::memcpy(&bits, bytes + i * sizeof(bits), sizeof(bits));
    out[i] = to_float(bits);
  }
  return count;
}

float bfloat16_to_float(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

struct ElementType {
  std::string_view name;
  std::int64_t bits;
  std::size_t (*convert)(const std::byte*, std::size_t, float*);  ///< null: known, but not read
};
constexpr std::array kTypes{
    ElementType{"BOOL", 8, nullptr},
    ElementType{"F4", 4, nullptr},
    ElementType{"F6_E2M3", 6, nullptr},
    ElementType{"F6_E3M2", 6, nullptr},
    ElementType{"U8", 8, nullptr},
    ElementType{"I8", 8, nullptr},
    ElementType{"F8_E5M2", 8, nullptr},
    ElementType{"F8_E4M3", 8, nullptr},
    ElementType{"F8_E8M0", 8, nullptr},
    ElementType{"F8_E4M3FNUZ", 8, nullptr},
    ElementType{"F8_E5M2FNUZ", 8, nullptr},
    ElementType{"I16", 16, nullptr},
    ElementType{"U16", 16, nullptr},
    ElementType{"F16", 16, convert_16_bit<half_to_float>},
    ElementType{"BF16", 16, convert_16_bit<bfloat16_to_float>},
    ElementType{"I32", 32, nullptr},
    ElementType{"U32", 32, nullptr},
    ElementType{"F32", 32, copy_floats},
    ElementType{"C64", 64, nullptr},
    ElementType{"F64", 64, convert_doubles},
    ElementType{"I64", 64, nullptr},
    ElementType{"U64", 64, nullptr},
};

const ElementType* find_type(std::string_view name) {
  const auto* const found = std::ranges::find(kTypes, name, &ElementType::name);
  return found == kTypes.end() ? nullptr : found;
}

[[noreturn]] void fail(const std::filesystem::path& path, std::string_view trouble) {
  throw FormatError(fmt::format("{} {}", shown_path(path), trouble));
}

[[noreturn]] void fail(const std::filesystem::path& path, std::string_view tensor, std::string_view trouble) {
  throw FormatError(fmt::format("{}: tensor {} {}", shown_path(path), shown_name(tensor), trouble));
}

/// One tensor of the header. Offsets count bytes from the header's end.
struct HeaderEntry {
  const ElementType* type = nullptr;
  std::optional<std::vector<std::int64_t>> shape;
  std::optional<std::vector<std::int64_t>> offsets;

  [[nodiscard]] std::int64_t begin() const { return offsets->at(0); }
  [[nodiscard]] std::int64_t end() const { return offsets->at(1); }
};

struct Header {
  std::map<std::string, HeaderEntry, std::less<>> tensors;
  std::map<std::string, std::string> metadata;
};

/// Takes the header's JSON event by event (so that doubled names are seen, and nothing but what the format
/// allows is ever kept): {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ...,
/// "__metadata__": {"key": "value", ...}}.
class HeaderHandler : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit HeaderHandler(const std::filesystem::path& path) : path_(&path) {}

  [[nodiscard]] Header take() { return std::move(header_); }

  bool start_object(std::size_t /*elements*/) override {
    if (place_ == Place::before) {
      place_ = Place::top;
    } else if (place_ == Place::top && name_ == kMetadata) {
      place_ = Place::metadata;
    } else if (place_ == Place::top) {
      place_ = Place::tensor;
    } else {
      unexpected("a mapping");
    }
    key_.clear();
    return true;
  }

  bool key(string_t& word) override {
    if (place_ == Place::top) {
      const bool is_new =
          word == kMetadata ? !std::exchange(has_metadata_, true) : header_.tensors.try_emplace(word).second;
      if (!is_new) fail(*path_, fmt::format("names {} twice in its header; save it again", shown_name(word)));
      name_ = word;
    } else if (place_ == Place::metadata) {
      if (!header_.metadata.try_emplace(word).second)
        fail(*path_, fmt::format("names {} twice in its __metadata__; save it again", shown_name(word)));
      key_ = word;
    } else {
      const HeaderEntry& entry = tensor();
      const bool known = word == "dtype" || word == "shape" || word == "data_offsets";
      if (!known) {
        fail(*path_, name_,
             fmt::format("has the key {}, where dtype, shape and data_offsets are known", shown_name(word)));
      }
      if ((word == "dtype" && entry.type != nullptr) || (word == "shape" && entry.shape) ||
          (word == "data_offsets" && entry.offsets)) {
        fail(*path_, name_, fmt::format("has the key {} twice; save the file again", shown_name(word)));
      }
      key_ = word;
    }
    return true;
  }

  bool string(string_t& value) override {
    if (place_ == Place::metadata) {
      header_.metadata[key_] = value;
    } else if (place_ == Place::tensor && key_ == "dtype") {
      tensor().type = find_type(value);
      if (tensor().type == nullptr) {
        std::vector<std::string_view> names;
        for (const ElementType& type : kTypes) names.push_back(type.name);
        fail(
            *path_, name_,
            fmt::format("has the unknown dtype {}; known are {}", shown_name(value), fmt::join(names, ", ")));
      }
    } else {
      unexpected("a string");
    }
    return true;
  }

  bool start_array(std::size_t /*elements*/) override {
    if (place_ != Place::tensor || key_ == "dtype") unexpected("a list");
    (key_ == "shape" ? tensor().shape : tensor().offsets).emplace();
    place_ = Place::numbers;
    return true;
  }

  bool number_unsigned(number_unsigned_t value) override {
    if (place_ != Place::numbers) unexpected(fmt::format("the number {}", value));
    if (value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
      unexpected(fmt::format("the number {}, which is too large,", value));
    const bool is_shape = key_ == "shape";
    std::vector<std::int64_t>& numbers = is_shape ? *tensor().shape : *tensor().offsets;
    if (numbers.size() == (is_shape ? kMaxRank : 2)) {
      fail(*path_, name_,
           is_shape ? "has more than 64 dimensions"
                    : "has more than two data_offsets, where [begin, end] is "
                      "needed");
    }
    numbers.push_back(static_cast<std::int64_t>(value));
    return true;
  }

  bool end_array() override {
    if (key_ == "data_offsets" && tensor().offsets->size() != 2) {
      fail(*path_, name_,
           fmt::format("has {} data_offsets, where [begin, end] is needed", tensor().offsets->size()));
    }
    place_ = Place::tensor;
    return true;
  }

  bool end_object() override {
    if (place_ == Place::tensor) {
      const HeaderEntry& entry = tensor();
      if (entry.type == nullptr || !entry.shape || !entry.offsets) {
        fail(*path_, name_,
             fmt::format("lacks the key {}", entry.type == nullptr ? "dtype"
                                             : !entry.shape        ? "shape"
                                                                   : "data_offsets"));
      }
    }
    place_ = place_ == Place::top ? Place::before : Place::top;
    return true;
  }

  bool null() override { unexpected("null"); }
  bool boolean(bool value) override { unexpected(value ? "true" : "false"); }
  bool number_integer(number_integer_t value) override {
    unexpected(fmt::format("the negative number {}", value));
  }
  bool number_float(number_float_t /*value*/, const string_t& word) override {
    unexpected(fmt::format("the number {}", shown_name(word)));
  }
  bool binary(binary_t& /*value*/) override { unexpected("binary data"); }
  bool parse_error(std::size_t position, const std::string& /*token*/,
                   const nlohmann::json::exception& /*error*/) override {
    fail(*path_, fmt::format("has a header that is not valid JSON at byte {}; is the file damaged?",
                             kLengthBytes + position - 1));
  }

 private:
  enum class Place : std::uint8_t { before, top, metadata, tensor, numbers };

  [[nodiscard]] HeaderEntry& tensor() { return header_.tensors.find(name_)->second; }

  [[noreturn]] void unexpected(std::string_view what) {
    switch (place_) {
      case Place::metadata:
        fail(*path_, fmt::format("has {} for {} in its __metadata__, where a string is needed", what,
                                 shown_name(key_)));
      case Place::tensor:
        fail(*path_, name_,
             fmt::format("has {} for {}, where {} is needed", what, key_,
                         key_ == "dtype" ? "a string" : "a list of whole numbers"));
      case Place::numbers:
        fail(*path_, name_,
             fmt::format("has {} in its {}, where whole numbers from 0 to 2^63 - 1 are needed", what, key_));
      default:
        fail(*path_,
             fmt::format("has {} for {} in its header, where a mapping is needed", what, shown_name(name_)));
    }
  }

  const std::filesystem::path* path_;
  Header header_;
  Place place_ = Place::before;
  std::string name_;  ///< of the tensor (or __metadata__) being read
  std::string key_;   ///< of the value being read
  bool has_metadata_ = false;
};

/// The header's text, once its length has been checked.
std::string_view header_text(const MappedFile& file) {
  const std::span<const std::byte> bytes = file.bytes();
  if (bytes.size() < kLengthBytes) {
    fail(file.path(),
         fmt::format("is not a safetensors file: it has {} bytes, where the header's length alone takes 8",
                     bytes.size()));
  }
  std::uint64_t length = 0;
  std::memcpy(&length, bytes.data(), kLengthBytes);
  if (length > kMaxHeader) {
    fail(
        file.path(),
        fmt::format("is not a safetensors file: it announces a header of {} bytes, more than the limit of {}",
                    length, kMaxHeader));
  }
  if (length > bytes.size() - kLengthBytes) {
    fail(file.path(),
         fmt::format("is cut short: it announces a header of {} bytes and has {} behind the length", length,
                     bytes.size() - kLengthBytes));
  }
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + kLengthBytes,
                              static_cast<std::size_t>(length));
  if (!text.starts_with('{')) {
    fail(file.path(),
         fmt::format(
             "is not a safetensors file: its header {}, where '{{' is needed",
             text.empty() ? "is empty" : fmt::format("begins with {}", shown_name(text.substr(0, 1)))));
  }
  return text;
}

Header parse_header(const std::filesystem::path& path, std::string_view text) {
  // The parser below takes a zero byte for the end of the text; JSON allows none anywhere.
  if (const std::size_t zero = text.find('\0'); zero != std::string_view::npos) {
    fail(path, fmt::format("has a header that is not valid JSON at byte {}; is the file damaged?",
                           kLengthBytes + zero));
  }
  HeaderHandler handler(path);
  if (!nlohmann::json::sax_parse(text, &handler)) fail(path, "has a header that is not valid JSON");
  return handler.take();
}

/// Bytes that shape and type ask for.
std::int64_t needed_bytes(const std::filesystem::path& path, const std::string& name,
                          const HeaderEntry& entry) {
  std::int64_t bits = entry.type->bits;
  bool overflow = false;
  std::int64_t elements = 1;
  for (const std::int64_t size : *entry.shape)
    overflow = overflow || __builtin_mul_overflow(elements, size, &elements);
  overflow = overflow || __builtin_mul_overflow(elements, bits, &bits);
  if (overflow) {
    fail(path, name,
         fmt::format("has the shape ({}) of {}, whose size leaves 64 bits", fmt::join(*entry.shape, ", "),
                     entry.type->name));
  }
  if (bits % 8 != 0) {
    fail(path, name,
         fmt::format("has the shape ({}) of {}, {} bits, which do not fill whole bytes",
                     fmt::join(*entry.shape, ", "), entry.type->name, bits));
  }
  return bits / 8;
}

/// The elements' bytes must be cut up without holes or overlaps, each piece as long as its shape and type
/// say.
void check_places(const std::filesystem::path& path, const Header& header, std::int64_t data_bytes) {
  std::vector<std::pair<const std::string*, const HeaderEntry*>> by_offset;
  by_offset.reserve(header.tensors.size());
  for (const auto& [name, entry] : header.tensors) by_offset.emplace_back(&name, &entry);
  std::ranges::sort(by_offset, {},
                    [](const auto& item) { return std::pair(item.second->begin(), item.second->end()); });
  std::int64_t at = 0;
  for (const auto& [name, entry] : by_offset) {
    if (entry->end() < entry->begin()) {
      fail(path, *name,
           fmt::format("has data_offsets [{}, {}], whose end is before their begin", entry->begin(),
                       entry->end()));
    }
    if (entry->begin() != at) {
      fail(path, *name,
           fmt::format("begins at byte {} of the data, where {} is needed: the tensors {}", entry->begin(),
                       at, entry->begin() < at ? "overlap" : "leave a hole"));
    }
    at = entry->end();
    const std::int64_t needed = needed_bytes(path, *name, *entry);
    if (entry->end() - entry->begin() != needed) {
      fail(path, *name,
           fmt::format("has {} bytes (data_offsets [{}, {}]), where its shape ({}) of {} needs {}",
                       entry->end() - entry->begin(), entry->begin(), entry->end(),
                       fmt::join(*entry->shape, ", "), entry->type->name, needed));
    }
  }
  if (at != data_bytes) {
    fail(path, fmt::format("{}: its tensors take {} bytes behind the header, the file has {}",
                           at > data_bytes ? "is cut short" : "has bytes that belong to no tensor", at,
                           data_bytes));
  }
}

class SafetensorsFile final : public TensorFile {
 public:
  using TensorFile::Entries;
  using TensorFile::Entry;

  /// `places` are the spans of the elements, by the entries' index.
  SafetensorsFile(std::unique_ptr<MappedFile> file, Entries tensors,
                  std::map<std::string, std::string> metadata, std::vector<std::span<const std::byte>> places)
      : TensorFile(file->path(), std::move(tensors), std::move(metadata)),
        file_(std::move(file)),
        places_(std::move(places)) {}

 private:
  [[nodiscard]] std::vector<float> read_elements(const std::string& name, const Entry& entry) const override {
    const ElementType& type = *find_type(entry.info.type);
    if (type.convert == nullptr) {
      fail(path(), name,
           fmt::format("is of type {}, where F32, F16, BF16 and F64 can be read; convert it to float32 first",
                       type.name));
    }
    file_->check_size();
    const std::span<const std::byte> place = places_[entry.index];
    std::vector<float> values(place.size() * 8 / static_cast<std::size_t>(type.bits));
    const std::size_t converted = type.convert(place.data(), values.size(), values.data());
    if (converted < values.size()) {
      fail(path(), name,
           fmt::format("has an element (number {}) too large for float32; rescale it", converted));
    }
    return values;
  }

  std::unique_ptr<MappedFile> file_;
  std::vector<std::span<const std::byte>> places_;
};

}  // namespace

std::unique_ptr<TensorFile> open_safetensors(const std::filesystem::path& path) {
  auto file = std::make_unique<MappedFile>(path);
  const std::string_view text = header_text(*file);
  Header header = parse_header(path, text);
  const std::span<const std::byte> data = file->bytes().subspan(kLengthBytes + text.size());
  check_places(path, header, static_cast<std::int64_t>(data.size()));

  std::vector<std::span<const std::byte>> places;
  places.reserve(header.tensors.size());
  SafetensorsFile::Entries tensors;
  for (auto& [name, entry] : header.tensors) {
    tensors.emplace_hint(
        tensors.end(), name,
        SafetensorsFile::Entry{{std::string(entry.type->name), std::move(*entry.shape)}, places.size()});
    places.push_back(data.subspan(static_cast<std::size_t>(entry.begin()),
                                  static_cast<std::size_t>(entry.end() - entry.begin())));
  }
  return std::make_unique<SafetensorsFile>(std::move(file), std::move(tensors), std::move(header.metadata),
                                           std::move(places));
}

}  // namespace halotile
