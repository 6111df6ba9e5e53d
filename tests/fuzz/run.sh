#!/usr/bin/env bash
# Builds the fuzz targets with clang and runs each for a while from its seed corpus, after the inputs that once failed.
#   tests/fuzz/run.sh [SECONDS] [TARGET...]      10 seconds each of safetensors npz npy image metadata model config labels
# What is found keeps its input as build-fuzz/<target>-crash-*; the corpora grow in build-fuzz/corpus/<target>.
set -euo pipefail
cd "$(dirname "$0")/../.."

seconds=${1:-10}
targets=("${@:2}")
[[ ${#targets[@]} -gt 0 ]] || targets=(safetensors npz npy image metadata model config labels)
build=${HALOTILE_FUZZ_BUILD:-build-fuzz}

cmake -S tests/fuzz -B "$build" -G Ninja -DCMAKE_CXX_COMPILER="${CXX:-clang++}" >/dev/null
cmake --build "$build"
python3 tests/fuzz/make_corpus.py "$build/corpus"

fuzz_one() {
  local target=$1 regressions options coverage
  regressions=tests/fuzz/regressions/$target
  if compgen -G "$regressions/*" >/dev/null; then
    "$build/fuzz_$target" -rss_limit_mb=4096 "$regressions"/* >"$build/$target.log" 2>&1 ||
      { tail -50 "$build/$target.log"; exit 1; }
  fi
  options=(-max_total_time="$seconds" -timeout=20 -rss_limit_mb=4096 -max_len=32768 -print_final_stats=1
    -artifact_prefix="$build/$target-")
  [[ -e tests/fuzz/$target.dict ]] && options+=(-dict="tests/fuzz/$target.dict")
  "$build/fuzz_$target" "${options[@]}" "$build/corpus/$target" >"$build/$target.log" 2>&1 ||
    { tail -50 "$build/$target.log"; exit 1; }
  coverage=$(grep -o 'cov: [0-9]* ft: [0-9]* corp: [^ ]*' "$build/$target.log" | tail -1)
  echo "$target: $(grep -o 'number_of_executed_units: [0-9]*' "$build/$target.log"), $coverage"
}
export -f fuzz_one
export build seconds
printf '%s\n' "${targets[@]}" | xargs -P "$(nproc)" -I{} bash -c 'set -euo pipefail; fuzz_one {}'  # 123 when one fails
