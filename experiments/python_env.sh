#!/usr/bin/env bash
# Makes the virtual environment .venv in the repository's root and installs the package in python/ into it, in place,
# with all that the scripts need (python/pyproject.toml says what).
# May be run again: it then installs only what is missing. HALOTILE_PYTHON names another interpreter than python3.
set -euo pipefail
cd "$(dirname "$0")/.."
python="${HALOTILE_PYTHON:-python3}"

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
  echo "error: $python is missing or older than 3.10; install it: apt-get install python3 python3-venv" >&2
  exit 2
fi
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
  echo "error: $python cannot make virtual environments; install what is missing: apt-get install python3-venv" >&2
  exit 2
fi
if ! "$python" -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")))'; then
  echo "note: without Python's headers (apt-get install python3-dev) PyTorch is timed without torch.compile"
fi

[[ -x .venv/bin/pip ]] || "$python" -m venv .venv
.venv/bin/pip install --disable-pip-version-check --quiet --editable 'python[studies]'
echo "ready: .venv/bin/python experiments/peers/cpu_peers.py --help"
