// The errors halotile throws. Each message says what is wrong, why, and what to change.
#pragma once

#include <stdexcept>
#include <string>

namespace halotile {

/// Base of every error a user can cause or must hear of.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Sizes that do not fit together, overflow, or leave a map empty.
class ShapeError : public Error {
 public:
  using Error::Error;
};

/// A tile that is missing, doubled, foreign, or of the wrong size.
class TileError : public Error {
 public:
  using Error::Error;
};

/// A config or model file (or command-line override) that cannot be understood.
class ConfigError : public Error {
 public:
  using Error::Error;
};

/// A file whose bytes are not what its format asks for, or that cannot be read or written.
class FormatError : public Error {
 public:
  using Error::Error;
};

/// What this build, engine or device cannot do.
class UnsupportedError : public Error {
 public:
  using Error::Error;
};

/// A store of results that cannot be opened, read or written.
class StoreError : public Error {
 public:
  using Error::Error;
};

/// The user asked to stop (Ctrl-C); finished results are kept.
class Interrupted : public Error {
 public:
  Interrupted() : Error("interrupted") {}
};

}  // namespace halotile
