#!/usr/bin/env bash
# One would guess: saving the same tensors with the same metadata twice gives the same file, so that a checksum of the
# file names the weights.
# What happens: with two and more metadata entries safetensors writes them in an order that changes from call to call
# (its map of metadata is hashed with a random seed); the tensors' bytes stay. A cache or a journal that is keyed by the
# file's hash takes equal weights for different ones.
# Source: safetensors 0.7.0, run below.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q safetensors==0.7.0 numpy==2.3.5
"$folder/venv/bin/python" - <<'PY'
import json

import numpy as np
from safetensors.numpy import save

tensors = {"weight": np.arange(6, dtype=np.float32)}
metadata = {f"key{i}": str(i) for i in range(8)}
files = [save(tensors, metadata) for _ in range(20)]
headers = [json.loads(f[8 : 8 + int.from_bytes(f[:8], "little")]) for f in files]
print("different files among 20:", len(set(files)))
print("different contents among 20:", len({json.dumps(h, sort_keys=True) for h in headers}))
assert len(set(files)) > 1 and len({json.dumps(h, sort_keys=True) for h in headers}) == 1
PY
echo "still so: equal contents, different bytes"
