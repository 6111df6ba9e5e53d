#!/usr/bin/env bash
# Installs what building halotile needs and is missing, on Debian 12: with apt when root or through sudo, otherwise it
# prints the exact command and stops; then fetches the report's chart library. nvcc is optional and never installed.
# Usage: ./setup.sh [--tests]
set -euo pipefail
cd "$(dirname "$0")"

packages=(g++ cmake ninja-build git pkg-config libyaml-cpp-dev libfmt-dev libcli11-dev nlohmann-json3-dev libdnnl-dev libsqlite3-dev
  libjpeg-dev libpng-dev libzip-dev libprotobuf-dev protobuf-compiler libcairo2-dev fonts-dejavu-core)
if [[ "${1:-}" == "--tests" ]]; then
  packages+=(libgtest-dev clang clang-format libclang-rt-14-dev python3 chromium)
fi
fetch_charts=src/program/report/fetch_charts.sh
if [[ ! -f src/program/report/library/echarts.min.js ]] && ! python3 -m pip --version >/dev/null 2>&1; then
  packages+=(python3 python3-pip)
fi

missing=()
for package in "${packages[@]}"; do
  status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
  [[ "$status" == "installed" ]] || missing+=("$package")
done
if [[ ${#missing[@]} -eq 0 ]]; then
  "$fetch_charts" || true
  exit 0
fi

install=(apt-get install -y --no-install-recommends "${missing[@]}")
if [[ $EUID -eq 0 ]]; then
  sudo=()
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
  sudo=(sudo)
else
  echo "setup: these packages are missing; install them and start again:" >&2
  echo "  sudo apt-get update && sudo ${install[*]}" >&2
  exit 2
fi
echo "setup: installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
"${sudo[@]}" apt-get update -qq
"${sudo[@]}" "${install[@]}" >/dev/null
"$fetch_charts" || true  # without it reports have tables alone, and say so
