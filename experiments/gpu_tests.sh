#!/usr/bin/env bash
# All GPU tests on a GPU host, with a build that was carried there or made there: kernels, pipeline, the program from
# outside, and the cases called Small again under compute-sanitizer's memcheck, racecheck and initcheck. racecheck,
# which takes minutes, leaves out element types whose kernels differ in an instruction alone. Writes logs to FOLDER,
# and after every test gpu_tests.json. Exit status 0 when all passed, 1 otherwise.
# Usage: experiments/gpu_tests.sh BUILD FOLDER [NAME...]     names: kernels pipeline cli per_layer memcheck initcheck racecheck
set -uo pipefail
[[ $# -ge 2 ]] || { sed -n '2,6s/^# //p' "$0" >&2; exit 2; }
source_dir=$(cd "$(dirname "$0")/.." && pwd)
build=$(cd "$1" && pwd) || exit 2
mkdir -p "$2" && folder=$(cd "$2" && pwd) || exit 2
shift 2
names=("$@")
[[ ${#names[@]} -gt 0 ]] || names=(kernels pipeline cli per_layer memcheck initcheck racecheck)
export HALOTILE_REQUIRE_GPU=1 HALOTILE_SOURCE_DIR="$source_dir"

program() {  # a test program, beside the others in portable builds
  find "$build" -name "$1" -type f -perm -u+x | head -1
}

sanitize() {
  local status=0 test cases='Small*'
  [[ $1 != racecheck ]] || cases='Small*-*TensorCore*/*F16:*TensorCore*/*Tf32'
  for test in cuda_kernels_test cuda_pipeline_test; do
    compute-sanitizer --tool "$1" --error-exitcode 1 "$(program $test)" --gtest_filter="$cases" || status=1
  done
  return $status
}

run() {
  case $1 in
    kernels) "$(program cuda_kernels_test)" ;;
    pipeline) "$(program cuda_pipeline_test)" ;;
    cli) python3 "$source_dir/tests/cli/cuda_test.py" "$build/halotile" ;;
    per_layer) "$build/per_layer" "$source_dir/configs/models/alexnet.yaml" --batch 3 --runs 1 ;;
    memcheck | racecheck | initcheck) sanitize "$1" ;;
    *) echo "no test is called $1" >&2; return 2 ;;
  esac
}

failed=0
results=()
for name in "${names[@]}"; do
  start=$(date +%s.%N)
  run "$name" >"$folder/$name.log" 2>&1
  status=$?
  [[ $status -eq 0 ]] || failed=1
  seconds=$(python3 -c "import time; print(f'{time.time() - $start:.1f}')")
  echo "$name: $([[ $status -eq 0 ]] && echo passed || echo "FAILED ($status)"), ${seconds%.*} s"
  summary=$(grep -aE '\[  (PASSED|FAILED)  \]|ERROR SUMMARY|RACECHECK SUMMARY|^Ran |^OK|^FAILED' "$folder/$name.log" |
    tail -8 | python3 -c 'import json, sys; print(json.dumps(sys.stdin.read().splitlines()))')
  passed=$([[ $status -eq 0 ]] && echo true || echo false)
  results+=("{\"name\": \"$name\", \"passed\": $passed, \"seconds\": $seconds, \"summary\": $summary}")
  {
    echo "{\"machine\": $("$build/halotile" info --json),"
    echo " \"tests\": [$(IFS=,; echo "${results[*]}")],"
    echo " \"passed\": $([[ $failed -eq 0 ]] && echo true || echo false)}"
  } | python3 -m json.tool >"$folder/gpu_tests.json"
done
exit $failed
