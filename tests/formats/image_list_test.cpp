#include "formats/image_list.hpp"

#include <gtest/gtest.h>

#include <array>

#include "support.hpp"

namespace halotile::test {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> list(std::vector<fs::path> inputs) { return list_images(inputs); }

TEST(ImageList, ExpandsFoldersSortedByName) {
  const TemporaryFolder folder;
  for (const char* name :
       {"b.jpg", "a.PNG", "C.Jpeg", "10.jpg", "9.jpg", "notes.txt", "photo.webp", ".jpg", "x.jpg.bak"}) {
    folder.write(name, "");
  }
  fs::create_symlink("nowhere", folder.path() / "lost.png");  // reading it says what is wrong
  fs::create_directory(folder.path() / "sub.jpg");
  folder.write("sub.jpg/inner.jpg", "");
  std::vector<fs::path> expected;
  for (const char* name : {"10.jpg", "9.jpg", "C.Jpeg", "a.PNG", "b.jpg", "lost.png"})
    expected.push_back(folder.path() / name);
  EXPECT_EQ(list({folder.path()}), expected);
}

TEST(ImageList, KeepsFilesAndOrderAsGiven) {
  const TemporaryFolder folder;
  const fs::path z = folder.write("z.dat", "");  // any extension: read_image() decides by content
  fs::create_directory(folder.path() / "photos");
  const fs::path a = folder.write("photos/a.jpg", "");
  EXPECT_EQ(list({z, folder.path() / "photos", z}), (std::vector{z, a, z}));
}

TEST(ImageList, FindsTheSamples) { EXPECT_EQ(list({source_path("data/samples")}).size(), 6u); }

TEST(ImageList, SaysWhatIsMissing) {
  const TemporaryFolder folder;
  folder.write("notes.txt", "");
  expect_message(format_error_of([&] { (void)list({folder.path()}); }),
                 {folder.path().string(), "holds no images", ".jpg, .jpeg and .png"});
  expect_message(format_error_of([&] { (void)list({folder.path() / "none"}); }), {"none does not exist"});
  expect_message(format_error_of([&] { (void)list({}); }), {"no images were given"});
}

}  // namespace
}  // namespace halotile::test
