#!/usr/bin/env bash
# Is commit B faster or slower than commit A? Builds both in worktrees of git, sweeps CONFIG with them by turns,
# and compares. Each round is a store in OUTPUT; a run that was interrupted goes on where it was.
#
#   experiments/compare_commits.sh COMMIT_A COMMIT_B CONFIG [ROUNDS [OUTPUT]]
#
# ROUNDS: 5; OUTPUT: results/compare-A-B. Exit status: that of halotile compare.
set -euo pipefail

if (($# < 3 || $# > 5)); then
  sed -n '2,7s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
root=$(git -C "$(dirname "$0")" rev-parse --show-toplevel)
a=$(git -C "$root" rev-parse --verify --quiet "$1^{commit}") || { echo "$1: git knows no such commit" >&2; exit 2; }
b=$(git -C "$root" rev-parse --verify --quiet "$2^{commit}") || { echo "$2: git knows no such commit" >&2; exit 2; }
[[ $a != "$b" ]] || { echo "$1 and $2 are the same commit" >&2; exit 2; }
config=$(realpath "$3")
rounds=${4:-5}
output=$(realpath -m "${5:-$root/results/compare-${a:0:9}-${b:0:9}}")
mkdir -p "$output"

# Prints the program of a commit, built when it is not there yet.
build() {
  local tree="$output/build-${1:0:9}"
  [[ -e $tree/.git ]] || git -C "$root" worktree add --detach --quiet "$tree" "$1" >&2
  cmake -S "$tree" --preset release -DHALOTILE_TESTS=OFF >&2
  cmake --build "$tree/build" --target halotile >&2
  echo "$tree/build/halotile"
}

program_a=$(build "$a")
program_b=$(build "$b")
for ((round = 1; round <= rounds; ++round)); do
  # B goes first in every second round, so that what drifts meets both.
  order=("$program_a" "$program_b")
  ((round % 2)) || order=("$program_b" "$program_a")
  for program in "${order[@]}"; do
    # 1: a point's bits differ; the comparison will tell.
    "$program" sweep "$config" --store "$(printf '%s/round%02d.db' "$output" "$round")" || (($? == 1))
  done
done
"$program_b" compare --store "$output" "$a" "$b"
