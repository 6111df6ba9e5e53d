#include "formats/npy.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "formats/atomic_file.hpp"
#include "formats/input_file.hpp"
#include "formats/npy_type.hpp"
#include "formats/printable.hpp"
#include "formats/tensor_file.hpp"
#include "patching/error.hpp"
#include "patching/geometry.hpp"

namespace halotile {
namespace {

constexpr std::string_view kMagic{"\x93NUMPY", 6};
constexpr std::size_t kMaxRank = 64;                  // NumPy's own limit
constexpr std::int64_t kMaxHeader = 1 << 20;          // a shape of 64 numbers needs 2 KiB
constexpr std::size_t kBlock = std::size_t{1} << 16;  // elements converted at a time

[[noreturn]] void fail(const std::string& name, std::string_view trouble) {
  throw FormatError(fmt::format("{} {}", name, trouble));
}

/// Reads the Python dictionary of the header: exactly the keys descr, fortran_order and shape, in any order.
class HeaderParser {
 public:
  /// `long_numbers`: sizes may end with an L, as Python 2 wrote them.
  HeaderParser(std::string_view text, bool long_numbers, const std::string& name)
      : text_(text), long_numbers_(long_numbers), name_(name) {}

  NpyHeader parse() {
    std::optional<std::string> descr;
    std::optional<bool> fortran_order;
    std::optional<std::vector<std::int64_t>> shape;
    expect('{');
    while (!accept('}')) {
      const std::string_view key = string();
      expect(':');
      if (key == "descr" && !descr) {
        descr = string();
      } else if (key == "fortran_order" && !fortran_order) {
        fortran_order = boolean();
      } else if (key == "shape" && !shape) {
        shape = tuple();
      } else {
        complain(fmt::format("the key {} is unknown or doubled", shown_name(key)));
      }
      if (!accept(',')) {
        expect('}');
        break;
      }
    }
    skip_space();
    if (at_ != text_.size()) complain("something follows the dictionary");
    if (!descr || !fortran_order || !shape)
      complain("one of the keys descr, fortran_order, shape is missing");
    return {*descr, *fortran_order, *shape};
  }

 private:
  [[noreturn]] void complain(std::string_view what) const {
    fail(name_,
         fmt::format("has a malformed .npy header: {} (at character {}); save it again with numpy.save", what,
                     at_));
  }

  void skip_space() {
    constexpr std::string_view kSpace = " \t\n\r\f";
    while (at_ < text_.size() && kSpace.find(text_[at_]) != std::string_view::npos) ++at_;
  }

  bool accept(char c) {
    skip_space();
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  void expect(char c) {
    if (!accept(c)) complain(fmt::format("'{}' is missing", c));
  }

  std::string_view string() {
    skip_space();
    if (at_ < text_.size() && text_[at_] == 'u') ++at_;  // Python 2's u'shape'
    const char quote = accept('\'') ? '\'' : '"';
    if (quote == '"' && !accept('"'))
      complain("a quoted word is missing (structured types are not supported)");
    const std::size_t end = text_.find(quote, at_);
    if (end == std::string_view::npos) complain("a quote is not closed");
    const std::string_view word = text_.substr(at_, end - at_);
    at_ = end + 1;
    return word;
  }

  bool boolean() {
    skip_space();
    for (const bool value : {false, true}) {
      const std::string_view word = value ? "True" : "False";
      if (text_.substr(at_).starts_with(word)) {
        at_ += word.size();
        return value;
      }
    }
    complain("True or False is missing");
  }

  std::vector<std::int64_t> tuple() {
    std::vector<std::int64_t> values;
    expect('(');
    while (!accept(')')) {
      skip_space();
      std::int64_t value = 0;
      const char* const begin = text_.data() + at_;
      const auto [end, error] = std::from_chars(begin, text_.data() + text_.size(), value);
      if (error != std::errc{} || value < 0) complain("a size is not a whole number from 0 to 2^63 - 1");
      at_ += static_cast<std::size_t>(end - begin);
      if (long_numbers_ && at_ < text_.size() && text_[at_] == 'L') ++at_;
      values.push_back(value);
      if (values.size() > kMaxRank) complain("there are more than 64 dimensions");
      if (!accept(',')) {
        if (values.size() == 1) complain("a comma is missing after the only size");
        expect(')');
        break;
      }
    }
    return values;
  }

  std::string_view text_;
  bool long_numbers_;
  const std::string& name_;
  std::size_t at_ = 0;
};

/// The header, and how many bytes it takes.
struct Opening {
  NpyHeader header;
  std::int64_t bytes;
};

Opening read_opening(const NpyStream& stream, const std::string& name) {
  constexpr std::string_view kCut = "is a truncated .npy file: ends in its header; save it again";
  if (stream.size == 0) fail(name, "is empty; save the array again");
  std::array<std::byte, 12> start{};
  const auto known = static_cast<std::size_t>(std::min<std::int64_t>(stream.size, 10));
  stream.read(std::span(start).first(known));
  if (!std::string_view(reinterpret_cast<const char*>(start.data()), known).starts_with(kMagic)) {
    fail(name, "is not a .npy file (it does not begin with \\x93NUMPY); save the array with numpy.save");
  }
  if (known < 10) fail(name, kCut);
  const int major = std::to_integer<int>(start[6]);
  const int minor = std::to_integer<int>(start[7]);
  if (major < 1 || major > 3 || minor != 0) {
    fail(name,
         fmt::format("is of .npy version {}.{}, where 1.0, 2.0 and 3.0 are known; save it with another NumPy",
                     major, minor));
  }
  const std::int64_t text_begin = major == 1 ? 10 : 12;
  if (stream.size < text_begin) fail(name, kCut);
  if (major > 1) stream.read(std::span(start).last(2));
  std::int64_t text_size = 0;
  for (std::int64_t at = text_begin - 1; at >= 8; --at) {
    text_size = text_size * 256 + std::to_integer<std::int64_t>(start[static_cast<std::size_t>(at)]);
  }
  if (text_size > kMaxHeader) {
    fail(name, fmt::format("announces a .npy header of {} bytes, more than the limit of {}; save it again",
                           text_size, kMaxHeader));
  }
  if (text_begin + text_size > stream.size) fail(name, kCut);
  std::string text(static_cast<std::size_t>(text_size), '\0');
  stream.read(std::as_writable_bytes(std::span(text)));
  return {HeaderParser(text, major < 3, name).parse(), text_begin + text_size};
}

/// Number of elements, checked against the bytes that the file has for them.
std::int64_t checked_count(const NpyHeader& header, std::int64_t element_size, std::int64_t available,
                           const std::string& name) {
  // A zero makes the array empty whatever the other sizes; then no product may overflow either.
  std::int64_t count = std::ranges::count(header.shape, 0) > 0 ? 0 : 1;
  for (const std::int64_t size : header.shape) {
    if (__builtin_mul_overflow(count, size, &count)) count = std::numeric_limits<std::int64_t>::max();
    if (count > available) break;
  }
  if (count > available / element_size) {
    fail(name, fmt::format("is a truncated .npy file: shape ({}) of type {} needs more than the {} bytes "
                           "that follow the header; "
                           "save it again",
                           fmt::join(header.shape, ", "), shown_name(header.type), available));
  }
  if (count * element_size != available) {
    fail(name, fmt::format("has {} bytes after its .npy array; save one array in one file",
                           available - count * element_size));
  }
  return count;
}

/// From Fortran order (first index fastest) to C order.
std::vector<float> to_c_order(const std::vector<float>& in, const std::vector<std::int64_t>& shape) {
  std::vector<std::int64_t> stride(shape.size(), 1);  // of each index in `in`
  for (std::size_t axis = 1; axis < shape.size(); ++axis) stride[axis] = stride[axis - 1] * shape[axis - 1];
  std::vector<std::int64_t> index(shape.size(), 0);
  std::vector<float> out(in.size());
  std::int64_t from = 0;
  for (float& value : out) {
    value = in[static_cast<std::size_t>(from)];
    for (std::size_t axis = shape.size(); axis-- > 0;) {
      from += stride[axis];
      if (++index[axis] < shape[axis]) break;
      from -= stride[axis] * shape[axis];
      index[axis] = 0;
    }
  }
  return out;
}

/// Magic, length and header of a float32 array in C order, padded to at least `length` bytes.
std::string f32_opening(std::span<const std::int64_t> shape, std::size_t length) {
  std::string header = fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}{}), }}",
                                   fmt::join(shape, ", "), shape.size() == 1 ? "," : "");
  // NumPy pads with spaces so that the elements begin at a multiple of 64 bytes; magic and length take 10.
  const std::size_t needed = (10 + header.size() + 1 + 63) / 64 * 64;
  header.resize(std::max(needed, length) - 11, ' ');
  header += '\n';
  std::string opening(kMagic);
  for (const std::size_t byte : {std::size_t{1}, std::size_t{0}, header.size() % 256, header.size() / 256}) {
    opening += static_cast<char>(byte);
  }
  return opening + header;
}

}  // namespace

NpyHeader read_npy_header(const NpyStream& stream, const std::string& name) {
  Opening opening = read_opening(stream, name);
  if (const auto type = npy_type(opening.header.type))
    (void)checked_count(opening.header, type->size, stream.size - opening.bytes, name);
  return std::move(opening.header);
}

NpyArray read_npy(const NpyStream& stream, const std::string& name) {
  const auto [header, header_bytes] = read_opening(stream, name);
  const std::optional<NpyType> type = npy_type(header.type);
  if (!type) {
    fail(name, fmt::format("holds elements of type {}, where bool, int8 to int64, uint8 to uint64, float16, "
                           "float32 and float64 are supported; save array.astype('float32') instead",
                           shown_name(header.type)));
  }
  const std::int64_t count = checked_count(header, type->size, stream.size - header_bytes, name);

  NpyArray array{header.shape, std::vector<float>(static_cast<std::size_t>(count))};
  if (*type == NpyType{NpyKind::floating, 4}) {
    stream.read(std::as_writable_bytes(std::span(array.data)));
  } else {
    std::vector<std::byte> block;
    for (std::size_t done = 0; done < array.data.size();) {
      const std::size_t part = std::min(kBlock, array.data.size() - done);
      block.resize(part * type->size);
      stream.read(block);
      const std::size_t converted = to_floats(*type, block.data(), part, array.data.data() + done);
      done += converted;
      if (converted < part) {
        fail(name,
             fmt::format("has an element (number {} in the file) too large for float32; rescale the array",
                         done));
      }
    }
  }
  if (header.fortran_order && count > 1) array.data = to_c_order(array.data, array.shape);
  return array;
}

NpyArray read_npy(const std::filesystem::path& path) {
  const InputFile file(path);
  std::int64_t at = 0;
  const NpyStream stream{file.size(), [&file, &at](std::span<std::byte> out) {
                           file.read(at, out);
                           at += static_cast<std::int64_t>(out.size());
                         }};
  return read_npy(stream, shown_path(path));
}

void write_npy(const std::filesystem::path& path, std::span<const std::int64_t> shape,
               std::span<const float> data) {
  std::int64_t count = 1;
  for (const std::int64_t size : shape)
    count = checked_multiply(count, size, "the number of elements of an array");
  if (count != static_cast<std::int64_t>(data.size())) {
    throw ShapeError(fmt::format("{} cannot be written: shape ({}) has {} elements, the data {}",
                                 shown_path(path), fmt::join(shape, ", "), count, data.size()));
  }
  AtomicFile file(path);
  file.write(f32_opening(shape, 0));
  file.write(std::as_bytes(data));
  file.commit();
}

void write_npy(const std::filesystem::path& path, const NpyArray& array) {
  write_npy(path, array.shape, array.data);
}

NpyWriter::NpyWriter(std::filesystem::path path, std::span<const std::int64_t> shape)
    : path_(std::move(path)), shape_(shape.begin(), shape.end()), file_(std::make_unique<AtomicFile>(path_)) {
  for (const std::int64_t size : shape)
    entry_ = checked_multiply(entry_, size, "the number of elements of an array");
  file_->write(opening(0));
}

NpyWriter::NpyWriter(NpyWriter&&) noexcept = default;
NpyWriter::~NpyWriter() = default;

// As long for every count: the longest count decides.
std::string NpyWriter::opening(std::int64_t count) const {
  std::vector<std::int64_t> shape{INT64_MAX};
  shape.insert(shape.end(), shape_.begin(), shape_.end());
  const std::size_t length = f32_opening(shape, 0).size();
  shape[0] = count;
  return f32_opening(shape, length);
}

void NpyWriter::append(std::span<const float> data) {
  const auto elements = static_cast<std::int64_t>(data.size());
  if (elements % entry_ != 0) {
    throw ShapeError(fmt::format("{}: {} elements are no whole number of entries of {}", shown_path(path_),
                                 elements, entry_));
  }
  file_->write(std::as_bytes(data));
  count_ += elements / entry_;
}

void NpyWriter::finish() {
  if (finished_) return;
  file_->rewrite(0, opening(count_));
  file_->finish();
  finished_ = true;
}

std::string NpyWriter::commit() {
  finish();
  file_->commit();
  return path_.string();
}

}  // namespace halotile
