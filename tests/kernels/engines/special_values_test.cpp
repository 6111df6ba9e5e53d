// Special values through the CPU's engines.
#include <gtest/gtest.h>

#include "kernels/engines/special_values.hpp"

namespace halotile {
namespace {

using special::Case;
using special::Subject;

#if defined(__SANITIZE_THREAD__)
constexpr int special_threads = 1;  // it does not know OpenMP's barriers
#else
constexpr int special_threads = 2;
#endif

std::vector<Subject> cpu_subjects() {
  std::vector<Subject> subjects{
      {.name = "Reference", .make = [] { return make_reference_engine(); }},
      {.name = "OneDnnFp32",
       .make = [] { return make_onednn_engine(DType::f32, special_threads); },
       .winograd_infinity_may_become_nan = true},
  };
  if (cpu_has_bf16()) {
    // vdpbf16ps takes subnormal factors as zeros.
    subjects.push_back({.name = "OneDnnBf16",
                        .make = [] { return make_onednn_engine(DType::bf16, 1); },
                        .keeps_subnormal_factors = false,
                        .winograd_infinity_may_become_nan = true});
  }
  return subjects;
}

class SpecialValues : public testing::TestWithParam<Case> {};

TEST_P(SpecialValues, AsTheDefinitionHasThem) { special::check(GetParam()); }

INSTANTIATE_TEST_SUITE_P(Cpu, SpecialValues, testing::ValuesIn(special::cases_of(cpu_subjects())),
                         [](const auto& info) { return info.param.name(); });

}  // namespace
}  // namespace halotile
