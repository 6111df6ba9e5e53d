#!/usr/bin/env bash
# Checks that all Python compiles, and that ruff has nothing to find or to change. Exit status 77 (skipped) without ruff,
# which experiments/python_env.sh installs.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=$(command -v .venv/bin/python || command -v python3)
mapfile -t files < <(git ls-files '*.py')
"$python" - "${files[@]}" <<'END'
import sys

for name in sys.argv[1:]:
    with open(name, "rb") as file:
        compile(file.read(), name, "exec")
END
ruff=$(command -v .venv/bin/ruff || command -v ruff) || { echo "skipped: ruff is not installed"; exit 77; }
"$ruff" check --quiet --force-exclude "${files[@]}"
"$ruff" format --quiet --force-exclude --diff "${files[@]}"
