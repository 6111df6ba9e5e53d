#include "formats/atomic_file.hpp"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <vector>

#include "formats/input_file.hpp"
#include "support.hpp"

namespace halotile::test {
namespace {

namespace fs = std::filesystem;

std::ptrdiff_t entries(const fs::path& folder) {
  return std::distance(fs::directory_iterator(folder), fs::directory_iterator());
}

TEST(AtomicFile, WritesAndReplaces) {
  const TemporaryFolder folder;
  const fs::path path = folder.path() / "result.txt";
  write_file_atomically(path, "first\n");
  EXPECT_EQ(read_text(path), "first\n");
  AtomicFile file(path);
  file.write("second, ");
  EXPECT_EQ(read_text(path), "first\n");
  file.write("in pieces\n");
  file.commit();
  EXPECT_EQ(read_text(path), "second, in pieces\n");
  write_file_atomically(path, std::span<const std::byte>());
  EXPECT_EQ(read_text(path), "");
  EXPECT_EQ(entries(folder.path()), 1);
}

TEST(AtomicFile, LeavesNothingBehindWhenAbandoned) {
  const TemporaryFolder folder;
  const fs::path path = folder.write("result.txt", "kept");
  try {
    AtomicFile file(path);
    file.write("half a resu");
    throw std::runtime_error("something else failed");
  } catch (const std::runtime_error&) {
  }
  EXPECT_EQ(read_text(path), "kept");
  EXPECT_EQ(entries(folder.path()), 1);
}

TEST(AtomicFile, KeepsTheOldContentsWhenKilled) {
  const TemporaryFolder folder;
  const fs::path path = folder.write("result.txt", "kept");
  const pid_t child = ::fork();
  if (child == 0) {
    AtomicFile file(path);
    file.write("half a resu");
    ::kill(::getpid(), SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(read_text(path), "kept");
  write_file_atomically(path, "new");
  EXPECT_EQ(read_text(path), "new");
}

TEST(AtomicFile, WritersOfOneNameDoNotMix) {
  const TemporaryFolder folder;
  const fs::path path = folder.path() / "result.txt";
  AtomicFile one(path);
  AtomicFile two(path);
  one.write("one");
  two.write("two");
  two.commit();
  one.commit();
  EXPECT_EQ(read_text(path), "one");
  EXPECT_EQ(entries(folder.path()), 1);
}

TEST(AtomicFile, FollowsLinks) {
  const TemporaryFolder folder;
  const fs::path target = folder.write("target.txt", "old");
  const fs::path link = folder.path() / "link.txt";
  fs::create_symlink(target, link);
  write_file_atomically(link, "new");
  EXPECT_TRUE(fs::is_symlink(link));
  EXPECT_EQ(read_text(target), "new");
}

TEST(AtomicFile, WritesInTheCurrentFolder) {
  const TemporaryFolder folder;
  const fs::path before = fs::current_path();
  fs::current_path(folder.path());
  write_file_atomically("result.txt", "here");
  EXPECT_EQ(read_text("result.txt"), "here");
  fs::current_path(before);
}

TEST(AtomicFile, SaysWhatIsWrong) {
  const TemporaryFolder folder;
  const auto error_for = [](const fs::path& path) {
    return format_error_of([&] { write_file_atomically(path, "x"); });
  };
  expect_message(error_for(folder.path()), {folder.path().string(), "is a folder"});
  expect_message(error_for(folder.path() / "new" / "x.txt"),
                 {"new/x.txt cannot be written", "create the folder first"});
  expect_message(error_for(folder.path() / "x" / ""), {"names no file"});
  expect_message(error_for(folder.path() / std::string(300, 'x')), {"choose a shorter name"});
  expect_message(error_for("/dev/null"), {"/dev/null cannot be written: it is a device"});
  EXPECT_EQ(entries(folder.path()), 0);
}

TEST(AtomicFile, ReportsAFullDisk) {
  // Limits the size of files for a moment, which fails writes the way a full disk does.
  const TemporaryFolder folder;
  const fs::path path = folder.write("result.bin", "kept");
  const pid_t child = ::fork();
  if (child == 0) {
    // In a child, for the limit cannot be raised again by everyone.
    std::signal(SIGXFSZ, SIG_IGN);
    rlimit limit{4096, 4096};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    bool right = false;
    try {
      write_file_atomically(path, std::string(10000, 'x'));
    } catch (const FormatError& error) {
      right = std::string_view(error.what()).find("free some space") != std::string_view::npos;
    }
    std::_Exit(right ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_EQ(read_text(path), "kept");
  EXPECT_EQ(entries(folder.path()), 1);
}

TEST(AtomicFile, LeavesNothingBehindWhereAProcessEndsAtOnce) {
  const TemporaryFolder folder;
  {
    AtomicFile finished(folder.path() / "finished");
    finished.write("whole");
    finished.finish();
    EXPECT_FALSE(fs::exists(folder.path() / "finished"));
    finished.commit();
  }
  const pid_t child = ::fork();
  if (child == 0) {
    std::vector<std::unique_ptr<AtomicFile>> open;
    for (const char* const name : {"a", "b", "c"})
      open.push_back(std::make_unique<AtomicFile>(folder.path() / name));
    open[1].reset();
    open.push_back(std::make_unique<AtomicFile>(folder.path() / "d"));
    remove_temporary_files();
    std::_Exit(entries(folder.path()) == 1 ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(read_text(folder.path() / "finished"), "whole");
}

TEST(InputFile, ReadsParts) {
  const TemporaryFolder folder;
  const InputFile file(folder.write("letters", "abcdefgh"));
  EXPECT_EQ(file.size(), 8);
  EXPECT_EQ(read_all(file), to_bytes("abcdefgh"));
  std::vector<std::byte> part(3);
  file.read(2, part);
  EXPECT_EQ(part, to_bytes("cde"));
  expect_message(format_error_of([&] { file.read(6, part); }), {"letters ends at byte 8, 1 bytes too early"});
}

}  // namespace
}  // namespace halotile::test
