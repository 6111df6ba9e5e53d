// NumPy's .npy files: a header that names type, order and shape, then the elements.
// Source: NEP 1 and numpy.lib.format, versions 1.0, 2.0 and 3.0.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace halotile {

/// An array of any rank in C order (last index fastest). A rank of 0 is one number.
struct NpyArray {
  std::vector<std::int64_t> shape;
  std::vector<float> data;
};

/// Reads bool, integers of 8 to 64 bits, float16, float32 or float64 (see npy_type.hpp), of either byte
/// order, in C or Fortran order, and rounds each element to the nearest float. Nothing is allocated before
/// the sizes are known to fit the file. Throws FormatError when the file cannot be read, its header is none
/// that NumPy writes, its length is not what the header says, the type is another, or a float64 is too large
/// for a float.
[[nodiscard]] NpyArray read_npy(const std::filesystem::path& path);

/// A .npy file inside something else (a member of an archive): its length, and a function that fills its
/// argument with the next bytes or throws.
struct NpyStream {
  std::int64_t size = 0;
  std::function<void(std::span<std::byte>)> read;
};

/// What the header of a .npy file says.
struct NpyHeader {
  std::string type;  ///< NumPy's spelling: "<f4"
  bool fortran_order = false;
  std::vector<std::int64_t> shape;
};

/// Reads the header from the start of `stream`; `name` is what errors call it. Any type is let through, but
/// the shape is checked against the length if the type is one that read_npy reads. Throws FormatError.
[[nodiscard]] NpyHeader read_npy_header(const NpyStream& stream, const std::string& name);

/// As read_npy(path), from the start of `stream` to its end.
[[nodiscard]] NpyArray read_npy(const NpyStream& stream, const std::string& name);

/// Writes float32 in C order, whole or not at all (see atomic_file.hpp). Throws ShapeError when `shape` does
/// not have as many elements as `data`, FormatError when the file cannot be written.
void write_npy(const std::filesystem::path& path, std::span<const std::int64_t> shape,
               std::span<const float> data);
void write_npy(const std::filesystem::path& path, const NpyArray& array);

class AtomicFile;

/// Writes a float32 array whose first size is known only at the end, in C order, whole or not at all.
class NpyWriter {
 public:
  /// `shape`: the sizes behind the first. Throws FormatError when the file cannot be written.
  NpyWriter(std::filesystem::path path, std::span<const std::int64_t> shape);
  NpyWriter(NpyWriter&&) noexcept;
  ~NpyWriter();

  /// Appends entries. Throws ShapeError for part of one, FormatError when the disk is full or fails.
  void append(std::span<const float> data);
  /// Completes the header and forces all to the disk: the long part of commit(). Nothing is appended behind.
  void finish();
  /// Completes the header and gives the file its name, which it returns. Call it once.
  [[nodiscard]] std::string commit();

 private:
  [[nodiscard]] std::string opening(std::int64_t count) const;

  std::filesystem::path path_;
  std::vector<std::int64_t> shape_;
  std::int64_t entry_ = 1;  // elements
  std::int64_t count_ = 0;  // entries so far
  bool finished_ = false;
  std::unique_ptr<AtomicFile> file_;
};

}  // namespace halotile
