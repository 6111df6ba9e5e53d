#!/usr/bin/env bash
# All GPU tests on a GPU host, with a build that was carried there or made there: kernels, pipeline, the program from
# outside, and the cases called Small again under compute-sanitizer's memcheck, racecheck and initcheck. Writes logs and
# gpu_tests.json to FOLDER. Exit status 0 when all passed, 1 otherwise.
# Usage: experiments/gpu_tests.sh BUILD FOLDER [NAME...]     names: kernels pipeline cli memcheck racecheck initcheck
set -uo pipefail
[[ $# -ge 2 ]] || { sed -n '2,5s/^# //p' "$0" >&2; exit 2; }
source_dir=$(cd "$(dirname "$0")/.." && pwd)
build=$(cd "$1" && pwd) || exit 2
mkdir -p "$2" && folder=$(cd "$2" && pwd) || exit 2
shift 2
names=("$@")
[[ ${#names[@]} -gt 0 ]] || names=(kernels pipeline cli memcheck racecheck initcheck)
export HALOTILE_REQUIRE_GPU=1 HALOTILE_SOURCE_DIR="$source_dir"

program() {  # a test program, beside the others in portable builds
  find "$build" -name "$1" -type f -perm -u+x | head -1
}

sanitize() {
  local status=0 test
  for test in cuda_kernels_test cuda_pipeline_test; do
    compute-sanitizer --tool "$1" --error-exitcode 1 "$(program $test)" --gtest_filter='Small*' || status=1
  done
  return $status
}

run() {
  case $1 in
    kernels) "$(program cuda_kernels_test)" ;;
    pipeline) "$(program cuda_pipeline_test)" ;;
    cli) python3 "$source_dir/tests/cli/cuda_test.py" "$build/halotile" ;;
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
  seconds=$(echo "$(date +%s.%N) - $start" | bc 2>/dev/null || python3 -c "import time; print(time.time() - $start)")
  [[ $status -eq 0 ]] || failed=1
  echo "$name: $([[ $status -eq 0 ]] && echo passed || echo "FAILED ($status)"), ${seconds%.*} s"
  results+=("{\"name\": \"$name\", \"passed\": $([[ $status -eq 0 ]] && echo true || echo false), \"seconds\": $(printf '%.1f' "$seconds"), \"summary\": $(grep -aE '\[  (PASSED|FAILED)  \]|ERROR SUMMARY|RACECHECK SUMMARY|^Ran |^OK|^FAILED' "$folder/$name.log" | tail -8 | python3 -c 'import json, sys; print(json.dumps(sys.stdin.read().splitlines()))')}")
done
{
  echo "{\"machine\": $("$build/halotile" info --json),"
  echo " \"tests\": [$(IFS=,; echo "${results[*]}")],"
  echo " \"passed\": $([[ $failed -eq 0 ]] && echo true || echo false)}"
} | python3 -m json.tool >"$folder/gpu_tests.json"
exit $failed
