#!/usr/bin/env bash
# Fetches the report's chart library, Apache ECharts 6.0.0 (Apache License 2.0, its notice stands in the file), to
# src/program/report/library, unless it is there. It is taken out of the Python package panel, which carries it;
# nothing of Python is needed later. Exit status 1 when it cannot be had: reports then have no charts.
set -euo pipefail
cd "$(dirname "$0")"
library=library/echarts.min.js
sum=baa8dfe7e1d9336b98e8986ba7e20ea15e7cdbea1ef42a59d59478632fa45a1d

is_right() { echo "$sum  $1" | sha256sum --check --status 2>/dev/null; }
[[ -f $library ]] && is_right "$library" && exit 0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat >"$folder/requirements.txt" <<'REQUIREMENTS'
panel==1.9.4 --hash=sha256:c89c4c1e728297daf0628ea5070fb0da8ad77781e2a3142d302479537c1de6a4
REQUIREMENTS
echo "fetching the report's chart library (30 MB, once) ..."
if ! python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
  --requirement "$folder/requirements.txt" --dest "$folder"; then
  echo "note: the chart library could not be fetched; reports will have tables and no charts" >&2
  exit 1
fi
python3 - "$folder" <<'PYTHON'
import pathlib, sys, zipfile
folder = pathlib.Path(sys.argv[1])
with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
    (folder / "echarts.min.js").write_bytes(wheel.read("panel/dist/bundled/echarts/echarts@6.0.0/dist/echarts.min.js"))
PYTHON
is_right "$folder/echarts.min.js" || { echo "note: the chart library's file is not the expected one; it was not kept" >&2; exit 1; }
mkdir -p library
mv "$folder/echarts.min.js" "$library"
