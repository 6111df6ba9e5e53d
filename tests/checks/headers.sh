#!/usr/bin/env bash
# Checks that every header that host compilers see compiles alone. Those that their own source includes first have been
# compiled so by the build. Usage: headers.sh <compiler>
set -euo pipefail
cd "$(dirname "$0")/../.."
status=0
while read -r header; do
  grep -q 'cuda_runtime\|cuda_error.hpp\|cuda_device.hpp\|_direct.hpp' "$header" && continue  # need CUDA's headers
  source=${header%.hpp}.cpp
  [[ -e $source && $(grep -m1 '#include' "$source") == *[\"/]"$(basename "$header")\"" ]] && continue
  "$1" -std=c++20 -fsyntax-only -Wall -Isrc -Iexperiments -x c++ - <<<"#include \"$header\"" || { echo "does not compile alone: $header"; status=1; }
done < <(git ls-files 'src/*.hpp' 'experiments/*.hpp' | grep -v '_direct.hpp\|/cuda_\|/cudnn_')
exit $status
