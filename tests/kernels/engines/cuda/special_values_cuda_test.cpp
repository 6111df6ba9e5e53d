// Special values through the CUDA engines.
#include <gtest/gtest.h>

#include "kernels/engines/cuda/support.hpp"
#include "kernels/engines/registry/cuda_engines.hpp"
#include "kernels/engines/special_values.hpp"

namespace halotile::testing {
namespace {

using special::Case;
using special::Subject;

std::vector<Subject> own_subjects() {
  std::vector<Subject> subjects{
      {.name = "Direct", .make = [] { return make_direct_engine(0, DirectStage::automatic); }}};
  const auto tensor_core = [&](const char* name, Precision precision) {
    Subject subject{.name = name, .make = [precision] { return make_tensor_core_engine(0, precision); }};
    subject.fuses_lrn_and_pool = true;
    subject.keeps_subnormal_factors = false;
    subjects.push_back(subject);
  };
  tensor_core("TensorCoreBf16", Precision::bf16);
  tensor_core("TensorCoreFp16", Precision::fp16);
  tensor_core("TensorCoreTf32", Precision::tf32);
  tensor_core("TensorCoreFp32", Precision::fp32);
  return subjects;
}

std::vector<Subject> cudnn_subjects() {
  std::vector<Subject> subjects;
  const auto cudnn = [&](const char* name, Precision precision) {
    Subject subject{.name = name, .make = [precision] { return make_cudnn_engine(0, precision); }};
    subject.keeps_subnormal_factors = false;
    subject.promises_bits = false;
    subject.own_products = false;
    subject.infinity_may_become_nan = true;  // Winograd and other transforms are its to choose
    subjects.push_back(subject);
  };
  cudnn("CudnnFp32", Precision::fp32);
  cudnn("CudnnTf32", Precision::tf32);
  cudnn("CudnnBf16", Precision::bf16);
  cudnn("CudnnFp16", Precision::fp16);
  return subjects;
}

class SpecialValuesCuda : public ::testing::TestWithParam<Case> {};

TEST_P(SpecialValuesCuda, AsTheDefinitionHasThem) {
  HALOTILE_NEEDS_GPU();
  special::check(GetParam());
}

class SpecialValuesCudnn : public ::testing::TestWithParam<Case> {};

TEST_P(SpecialValuesCudnn, AsTheDefinitionHasThem) {
  HALOTILE_NEEDS_GPU();
  if (!cudnn_state().obstacle.empty()) GTEST_SKIP() << "no cuDNN: " << cudnn_state().obstacle;
  special::check(GetParam());
}

const auto case_name = [](const auto& info) { return info.param.name(); };
INSTANTIATE_TEST_SUITE_P(Own, SpecialValuesCuda, ::testing::ValuesIn(special::cases_of(own_subjects())),
                         case_name);
INSTANTIATE_TEST_SUITE_P(Cudnn, SpecialValuesCudnn, ::testing::ValuesIn(special::cases_of(cudnn_subjects())),
                         case_name);

}  // namespace
}  // namespace halotile::testing
