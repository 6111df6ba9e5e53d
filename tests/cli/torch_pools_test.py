"""Random networks with pools of every sort against PyTorch in float64, live: both CPU engines, whole and patched.

Max and average, counted padding or not, ceil_mode, dilated, strides beyond the kernel, kernels larger than the map on
either axis, adaptive, alone and between convolutions. What PyTorch refuses must be refused, and the other way round.

`python3 tests/cli/torch_pools_test.py PROGRAM --networks 4000 [--first SEED]` compares as many that PyTorch computes;
without the word it is 40.
Needs torch, safetensors, numpy and PyYAML (experiments/python_env.sh); without them it skips with the reason.
"""

import importlib
import itertools
import random
import subprocess
import sys

from support import PROGRAM, Case, main


def taken(option, default):
    """The number behind an option of ours, which unittest must not see."""
    if option not in sys.argv:
        return default
    at = sys.argv.index(option)
    value = int(sys.argv[at + 1])
    del sys.argv[at : at + 2]
    return value


NETWORKS = taken("--networks", 40)
FIRST = taken("--first", 0)

try:
    for module in ("numpy", "torch", "safetensors.torch", "yaml"):
        importlib.import_module(module)
except ImportError as missing:
    print(f"skipped: {missing}; experiments/python_env.sh makes an environment with what this test needs")
    sys.exit(77)

import numpy as np
import torch
from safetensors.torch import save_file

from halotile_tools.model_file import write_model
from halotile_tools.torch import Network

# Largest error allowed, as a share of the largest magnitude of the reference.
SHARE = 1e-5
SETTINGS = (
    ("engine=onednn", "patch=whole"),
    ("engine=reference", "patch=whole"),
    ("engine=onednn", "patch.size=2", "streams=2"),
    ("engine=reference", "patch={grid: [2, 3], stages: fused}", "streams=2"),
)
QUICK = ("threads=1", "measure.warmup=0", "measure.min_runs=1", "measure.max_seconds=0.001")


def draw_pool(rng):
    if rng.random() < 0.15:
        return {"type": "adaptive_avg_pool", "output": [rng.randint(1, 9), rng.randint(1, 9)]}
    kind = rng.choice(["max_pool", "avg_pool"])
    kernel = [rng.choice([1, 2, 2, 3, 3, 4, 5, 8, 13]) for _ in range(2)]
    pool = {
        "type": kind,
        "kernel": kernel,
        "stride": [rng.choice([1, 1, 2, 2, 3, 4, 7, 15]) for _ in range(2)],
        "padding": [rng.randint(0, k // 2) if rng.random() < 0.6 else 0 for k in kernel],
        "ceil_mode": rng.random() < 0.8,
    }
    if kind == "max_pool" and rng.random() < 0.3:
        pool["dilation"] = [rng.randint(1, 3), rng.randint(1, 3)]
    if kind == "avg_pool":
        pool["count_include_pad"] = rng.random() < 0.5
    return pool


def draw(rng):
    """A model file: one pool at least; maps from one pixel, so that many kernels are larger than theirs."""
    channels = rng.randint(1, 5)
    model = {
        "name": "pools",
        "input": {"channels": channels, "height": rng.randint(1, 16), "width": rng.randint(1, 16)},
        "layers": [],
    }
    for place in range(rng.randint(1, 3)):
        if place > 0 or rng.random() < 0.4:
            kernel = [rng.randint(1, 3), rng.randint(1, 3)]
            padding = [rng.randint(0, 2), rng.randint(0, 2)]
            model["layers"].append(
                {"type": "conv", "out_channels": rng.randint(1, 6), "kernel": kernel, "padding": padding}
            )
        model["layers"].append(draw_pool(rng))
    return model


def reference(model, seed):
    """Input, weights and what PyTorch makes of them in float64; None where it refuses the network."""
    torch.manual_seed(seed)
    try:
        network = Network(model)
    except (RuntimeError, ValueError):
        return None
    size = model["input"]
    shape = (2, size["channels"], size["height"], size["width"])
    x = np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)
    weights = {name: value.clone() for name, value in network.weights().items()}
    with torch.no_grad():
        wanted = network.double().eval()(torch.from_numpy(x).double()).numpy()
    return x, weights, wanted


class RandomPools(Case):
    def run_one(self, words):
        """The output, or the message of a refusal."""
        done = subprocess.run(
            [PROGRAM, "run", "config.yaml", *QUICK, *words], cwd=self.folder, capture_output=True, timeout=240
        )
        if done.returncode == 2:
            return done.stderr.decode().strip()
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        return np.load(self.results / "l.npy")

    def difference(self, got, wanted):
        """What is wrong, or nothing."""
        if wanted is None:
            return None if isinstance(got, str) else "PyTorch refuses it"
        if isinstance(got, str):
            return f"refused: {got}"
        if got.shape != wanted.shape:
            return f"shape {got.shape}, PyTorch's is {wanted.shape}"
        finite = np.isfinite(wanted)
        if not np.array_equal(np.isfinite(got), finite) or not np.array_equal(
            got[~finite], wanted[~finite].astype(np.float32), equal_nan=True
        ):
            return "infinities or NaN are elsewhere"
        if not finite.any():
            return None
        error = np.abs(got.astype(np.float64) - wanted)[finite].max()
        largest = np.abs(wanted[finite]).max()
        self.worst = max(self.worst, error / largest if largest > 0 else error)
        return None if error <= SHARE * largest else f"differs by {error:.3g} of {largest:.3g}"

    def test_random_pools(self):
        self.worst = 0.0
        compared = refused = 0
        wrong = []
        for seed in itertools.count(FIRST):
            if compared == NETWORKS:
                break
            model = draw(random.Random(seed))
            made = reference(model, seed)
            write_model(self.folder / "model.yaml", model)
            source = "{random: 1}"
            weights = ""
            if made is not None:
                np.save(self.folder / "x.npy", made[0])
                source = "{file: x.npy}"
                if made[1]:
                    save_file(made[1], self.folder / "w.safetensors")
                    weights = "weights: {file: w.safetensors}\n"
            self.write(
                "config.yaml",
                f"model: model.yaml\n{weights}input: {source}\noutput: {{save: {{logits: l.npy}}}}\n",
            )
            compared += made is not None
            refused += made is None
            for words in SETTINGS:
                what = self.difference(self.run_one(words), None if made is None else made[2])
                if what is not None:
                    wrong.append(f"seed {seed}, {' '.join(words)}: {what}\n  {model['input']} {model['layers']}")
                    break
        print(
            f"{compared} networks, and {refused} that PyTorch refuses, from seed {FIRST}; PyTorch {torch.__version__}"
        )
        print(f"{len(SETTINGS)} settings each: {len(wrong)} different; largest error: {self.worst:.2g} of the largest")
        self.assertEqual(wrong, [], "\n".join(wrong[:40]))


if __name__ == "__main__":
    main()
