"""ONNX files through experiments/import_onnx.py and halotile, against what ONNX Runtime made of them: both CPU
engines, whole and in patches; and what must be refused, and damaged files, with one error.

The files are those of experiments/make_onnx_cases.py: tests/golden/onnx, or the folder behind --cases. Needs onnx,
numpy, safetensors and PyYAML (experiments/python_env.sh installs them); without them it skips with the reason.
`--table FILE` writes what became of each case as JSON.
"""

import fnmatch
import importlib
import json
import pathlib
import random
import subprocess
import sys

from support import PROGRAM, SOURCE, Case, main


def option(name, default):
    if name not in sys.argv:
        return default
    at = sys.argv.index(name)
    value = sys.argv[at + 1]
    del sys.argv[at : at + 2]
    return value


FOLDER = pathlib.Path(option("--cases", SOURCE / "tests" / "golden" / "onnx"))
ONLY = option("--only", "*")
TABLE = option("--table", None)

try:
    for module in ("numpy", "onnx", "safetensors.numpy", "yaml"):
        importlib.import_module(module)
except ImportError as missing:
    print(f"skipped: {missing}; experiments/python_env.sh makes an environment with what this test needs")
    sys.exit(77)

sys.path.insert(0, str(SOURCE / "experiments"))
import numpy as np
from import_onnx import Inexpressible, import_onnx

# Largest difference allowed, as a share of the largest magnitude.
SHARE = 1e-5
CONFIG = """\
model: net.yaml
weights: {file: net.safetensors}
input: {file: x.npy}
device: cpu
measure: {warmup: 0, min_runs: 1, max_seconds: 0.1}
"""
CASES = json.loads((FOLDER / "manifest.json").read_text())["cases"]
OUTCOMES = {}


def layer_names(model):
    """Nameless layers are called by type and number."""
    counts = {}
    for layer in model["layers"]:
        counts[layer["type"]] = counts.get(layer["type"], 0) + 1
        yield layer.get("name", f"{layer['type']}{counts[layer['type']]}")


class Imported(Case):
    def outputs(self, model, x):
        """The last layer's map by (engine, patch size)."""
        size = [model["input"][key] for key in ("channels", "height", "width")]
        np.save(self.folder / "x.npy", x.astype(np.float32).reshape(-1, *size))
        (self.folder / "c.yaml").write_text(CONFIG)
        save = "output.save={" + json.dumps(list(layer_names(model))[-1]) + ": y.npy}"
        for engine in ("reference", "onednn"):
            for patch in ("whole", "3"):
                keys = [f"engine={engine}", f"patch.size={patch}", save, f"output.directory={self.results}"]
                run = [str(PROGRAM), "run", str(self.folder / "c.yaml"), *keys]
                done = subprocess.run(run, capture_output=True, text=True, timeout=60)
                self.assertEqual(done.returncode, 0, done.stderr)
                yield (engine, patch), np.load(self.results / "y.npy")

    def compare(self, name):
        x, wanted = (np.load(FOLDER / f"{name}.{which}.npy") for which in "xy")
        model, _ = import_onnx(FOLDER / f"{name}.onnx", self.folder / "net")
        nan = np.isnan(wanted)
        worst = 0.0
        for how, got in self.outputs(model, x):
            self.assertEqual(got.size, wanted.size, how)
            got = got.reshape(wanted.shape).astype(np.float64)
            np.testing.assert_array_equal(np.isnan(got), nan, str(how))
            error = np.abs(got[~nan] - wanted[~nan]).max(initial=0) / max(np.abs(wanted[~nan]).max(initial=0), 1e-30)
            self.assertLess(error, SHARE, how)
            worst = max(worst, float(error))
        OUTCOMES[name] = {"error": worst}

    def test_equals_onnxruntime(self):
        for name in (n for n, case in CASES.items() if not case and fnmatch.fnmatch(n, ONLY)):
            with self.subTest(name):
                OUTCOMES[name] = {"failed": True}
                self.compare(name)

    def test_refuses_with_the_reason(self):
        for name in (n for n, case in CASES.items() if case and fnmatch.fnmatch(n, ONLY)):
            with self.subTest(name):
                OUTCOMES[name] = {"failed": True}
                with self.assertRaises(Inexpressible) as refused:
                    import_onnx(FOLDER / f"{name}.onnx", self.folder / name)
                OUTCOMES[name] = {"refused": str(refused.exception)}
                self.assertRegex(str(refused.exception), CASES[name]["refused"])
                self.assertNotIn("\n", str(refused.exception))
                self.assertFalse((self.folder / f"{name}.yaml").exists())


class Damaged(Case):
    """Files cut off or with bytes changed are imported or refused: nothing else is raised."""

    def tried(self, data):
        path = self.folder / "damaged.onnx"
        path.write_bytes(data)
        try:
            import_onnx(path, self.folder / "net")
        except Inexpressible as refused:
            self.assertNotIn("\n", str(refused))
            return str(refused)
        return None

    def files(self):
        names = sorted(n for n in CASES if fnmatch.fnmatch(n, ONLY))
        return [(FOLDER / f"{name}.onnx").read_bytes() for name in random.Random(5).sample(names, min(len(names), 12))]

    def test_truncated(self):
        for data in self.files():
            for end in random.Random(6).sample(range(len(data)), min(len(data), 25)):
                self.tried(data[:end])

    def test_changed_bytes(self):
        chance = random.Random(7)
        for data in self.files():
            for _ in range(25):
                changed = bytearray(data)
                for _ in range(chance.choice((1, 1, 4))):
                    changed[chance.randrange(len(changed))] = chance.randrange(256)
                self.tried(bytes(changed))

    def test_says_which_file(self):
        self.assertRegex(self.tried(b"this is not ONNX"), r"damaged\.onnx")
        self.assertRegex(self.tried(b""), r"damaged\.onnx")


if __name__ == "__main__":
    try:
        main()
    finally:
        if TABLE:
            pathlib.Path(TABLE).write_text(json.dumps(OUTCOMES, indent=1) + "\n")
