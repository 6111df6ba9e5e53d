#include "kernels/engines/parameter.hpp"

#include <gtest/gtest.h>

#include <string>

namespace halotile {
namespace {

TEST(Parameter, HasAnIdentityThatCopiesShare) {
  const Parameter a(std::vector<float>{1, 2});
  const Parameter b(std::vector<float>{1, 2});
  const Parameter copy = a;
  EXPECT_NE(a.id(), b.id());
  EXPECT_EQ(copy.id(), a.id());
  EXPECT_EQ(copy.data(), a.data());
  EXPECT_EQ(Parameter().id(), 0U);
  EXPECT_TRUE(Parameter().empty());
}

TEST(Parameter, KeepsItsValues) {
  Parameter kept;
  {
    const Parameter made(std::vector<float>{3, 4, 5});
    kept = made;
  }
  EXPECT_EQ(std::vector<float>(kept.begin(), kept.end()), (std::vector<float>{3, 4, 5}));
  const auto owner = std::make_shared<std::vector<float>>(2, 7.0F);
  const Parameter view(*owner, owner);
  EXPECT_EQ(view.data(), owner->data());
  EXPECT_EQ(owner.use_count(), 2);
}

TEST(MadeOfParameters, MakesOnceForEachParameterAndDetail) {
  MadeOfParameters<std::string, int> made;
  const Parameter a(std::vector<float>{1});
  const Parameter b(std::vector<float>{1});
  int count = 0;
  const auto make = [&] { return std::to_string(++count); };
  EXPECT_EQ(made.get(a, 0, make), "1");
  EXPECT_EQ(made.get(b, 0, make), "2");
  EXPECT_EQ(made.get(a, 1, make), "3");
  EXPECT_EQ(made.get(Parameter(a), 0, make), "1");
  EXPECT_TRUE(made.contains(a, 1));
  EXPECT_FALSE(made.contains(b, 1));
}

TEST(MadeOfParameters, WhatFailsIsNotKept) {
  MadeOfParameters<int> made;
  const Parameter a(std::vector<float>{1});
  EXPECT_THROW(made.get(a, []() -> int { throw std::bad_alloc(); }), std::bad_alloc);
  EXPECT_EQ(made.get(a, [] { return 1; }), 1);
}

TEST(MadeOfParameters, ForgetsWhatNobodyHolds) {
  MadeOfParameters<int> made;
  const Parameter held(std::vector<float>{1});
  const int& kept = made.get(held, [] { return -1; });
  for (int n = 0; n < 10; ++n) {
    EXPECT_EQ(made.get(Parameter(std::vector<float>{1}), [&] { return n; }), n);
    EXPECT_LE(made.size(), 3U);  // the held one, the last, and this one
  }
  EXPECT_EQ(kept, -1);
}

}  // namespace
}  // namespace halotile
