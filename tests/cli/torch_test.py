"""Against PyTorch and torchvision, live: torchvision's AlexNet and VGG-16, random networks, preprocessing, sampling.

Needs torch, torchvision, safetensors, numpy, Pillow and PyYAML (experiments/python_env.sh installs them, and the
package in python/); without them it skips with the reason. `--figures FILE` writes what was measured as JSON.
"""

import importlib
import json
import random
import sys

from support import PROGRAM, SAMPLES, SOURCE, Case, main

FIGURES = {}
FIGURES_FILE = None
if "--figures" in sys.argv:
    at = sys.argv.index("--figures")
    FIGURES_FILE = sys.argv[at + 1]
    del sys.argv[at : at + 2]

try:
    for module in ("numpy", "torch", "torchvision", "safetensors.torch", "PIL", "yaml"):
        importlib.import_module(module)
except ImportError as missing:
    print(f"skipped: {missing}; experiments/python_env.sh makes an environment with what this test needs")
    sys.exit(77)

import numpy as np
import torch
from PIL import Image, ImageOps
from safetensors.torch import save_file
from torchvision import models, transforms

from halotile_tools.model_file import read_model, write_model
from halotile_tools.sampling import augmented, read_resized, sampled_logits, ten_crops
from halotile_tools.torch import Network

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
QUICK = ("measure.warmup=0", "measure.min_runs=1")
# Largest error allowed, as a share of the largest magnitude of the reference.
SHARE = 1e-5


def photographs():
    return sorted(path for path in SAMPLES.iterdir() if path.suffix in (".jpg", ".png"))


class TorchCase(Case):
    def saved(self, name):
        return np.load(self.results / name)

    def close(self, figure, got, wanted):
        """Compares with a float64 reference; keeps the error for the figures."""
        self.assertEqual(got.shape, wanted.shape)
        error = float(np.abs(got.astype(np.float64) - wanted).max() / np.abs(wanted).max())
        FIGURES[figure] = error
        self.assertLess(error, SHARE, figure)

    def float64(self, module, x):
        with torch.no_grad():
            return module.double().eval()(torch.from_numpy(x).double()).numpy()


class Torchvision(TorchCase):
    """Random weights in torchvision's own file layout, as a download would have them."""

    def network(self, name, config, photographs, settings):
        torch.manual_seed(7)
        module = models.get_model(name)
        # PyTorch's initialization shrinks the values layer by layer; He's keeps them, as training does.
        for layer in module.modules():
            if isinstance(layer, (torch.nn.Conv2d, torch.nn.Linear)):
                torch.nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
                torch.nn.init.uniform_(layer.bias, -0.1, 0.1)
        save_file(module.state_dict(), self.folder / "w.safetensors")
        steps = transforms.Compose(
            [transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
        )
        x = torch.stack([steps(ImageOps.exif_transpose(Image.open(p)).convert("RGB")) for p in photographs]).numpy()
        wanted = self.float64(module, x)
        del module
        for words in settings:
            files = ", ".join(str(p) for p in photographs)
            self.halotile(
                "run",
                str(SOURCE / "configs" / config),
                "weights.file=w.safetensors",
                f"input.images=[{files}]",
                "preprocess.resize=256",
                "preprocess.crop=224",
                f"output.directory={self.results}",
                "output.save={logits: l.npy}",
                *QUICK,
                *words,
            )
            got = self.saved("l.npy")
            self.close(f"{name}: {' '.join(words)}", got, wanted)
            self.assertEqual(got.argmax(1).tolist(), wanted.argmax(1).tolist())

    def test_alexnet(self):
        self.network(
            "alexnet",
            "torchvision.yaml",
            photographs(),
            (
                ("patch=whole", "streams=1"),
                ("patch={size: 64}", "streams=2"),
                ("patch={grid: [3, 3], stages: fused}", "streams=2"),
                ("engine=reference", "patch={size: 32}", "streams=2"),
            ),
        )

    def test_vgg16(self):
        self.network(
            "vgg16",
            "vgg16.yaml",
            photographs()[:1],
            (("patch=whole", "streams=1"), ("patch={size: 64}", "streams=2"), ("patch={grid: [4, 4]}", "streams=2")),
        )


class RandomNetworks(TorchCase):
    """Networks that are not among the golden cases: a seed each, every kind of layer and window."""

    def draw(self, rng):
        size, channels = rng.randint(9, 40), rng.randint(1, 6)
        model = {
            "name": "random",
            "input": {"channels": channels, "height": size, "width": rng.randint(9, 40)},
            "layers": [],
        }
        layers = model["layers"]
        for _ in range(rng.randint(2, 6)):
            kind = rng.choice(["conv", "conv", "conv", "max_pool", "avg_pool", "lrn", "relu"])
            kernel = [rng.randint(1, 5), rng.randint(1, 5)]
            if kind == "conv":
                groups = rng.choice([g for g in (1, 1, 2, 3) if channels % g == 0])
                layers.append(
                    {
                        "type": kind,
                        "out_channels": groups * rng.randint(1, 5),
                        "kernel": kernel,
                        "stride": [rng.randint(1, 3), rng.randint(1, 3)],
                        "padding": [rng.randint(0, 3), rng.randint(0, 3)],
                        "dilation": [rng.randint(1, 2), rng.randint(1, 2)],
                        "groups": groups,
                        "bias": rng.random() < 0.8,
                    }
                )
                channels = layers[-1]["out_channels"]
            elif kind.endswith("pool"):
                layers.append(
                    {
                        "type": kind,
                        "kernel": kernel,
                        "stride": [rng.randint(1, 3), rng.randint(1, 3)],
                        "padding": [rng.randint(0, k // 2) for k in kernel],
                        "ceil_mode": rng.random() < 0.5,
                    }
                )
            elif kind == "lrn":
                layers.append(
                    {"type": kind, "size": rng.randint(1, 6), "alpha": 0.01, "beta": rng.choice([0.5, 0.75, 1.0])}
                )
            else:
                layers.append({"type": kind})
        if rng.random() < 0.3:
            layers.append({"type": "adaptive_avg_pool", "output": [rng.randint(1, 7), rng.randint(1, 7)]})
        layers += [{"type": "flatten"}, {"type": "fully_connected", "out_features": rng.randint(2, 12)}]
        return model

    def test_random_networks(self):
        worst, tried = 0.0, 0
        for seed in range(1000):
            if tried == 40:
                break
            model = self.draw(random.Random(seed))
            torch.manual_seed(seed)
            try:
                network = Network(model)
            except (RuntimeError, ValueError):
                continue  # a window larger than its map
            size = model["input"]
            x = (
                np.random.default_rng(seed)
                .uniform(-1, 1, (3, size["channels"], size["height"], size["width"]))
                .astype(np.float32)
            )
            wanted = self.float64(network, x)
            if not np.isfinite(wanted).all() or np.abs(wanted).max() == 0:
                continue
            tried += 1
            write_model(self.folder / "model.yaml", model)
            weights = {name: value.float() for name, value in network.weights().items()}
            save_file(weights, self.folder / "w.safetensors")
            np.save(self.folder / "x.npy", x)
            self.write(
                "config.yaml",
                "model: model.yaml\nweights: {file: w.safetensors}\ninput: {file: x.npy}\n"
                "output: {save: {logits: l.npy}}\n",
            )
            for words in (
                ("patch=whole",),
                ("engine=reference", "patch=whole"),
                ("patch.size=5", "streams=2"),
                ("patch={grid: [3, 4], stages: fused}", "engine=reference"),
            ):
                with self.subTest(seed=seed, words=words):
                    self.halotile("run", "config.yaml", *QUICK, *words)
                    self.close("random networks", self.saved("l.npy"), wanted)
                    worst = max(worst, FIGURES["random networks"])
        self.assertEqual(tried, 40)
        FIGURES["random networks"] = worst


class Preprocessing(TorchCase):
    """The network's input, which a model of one ReLU saves."""

    def inputs(self, crop, resize, *words, mean, std):
        # x and -x, of which ReLU keeps the half that is not negative.
        self.write(
            "model.yaml",
            f"input: {{channels: 3, height: {crop}, width: {crop}}}\nlayers:\n"
            "  - {type: conv, name: same, out_channels: 3, kernel: 1, groups: 3, bias: false}\n",
        )
        save_file({"same.weight": torch.ones(3, 1, 1, 1)}, self.folder / "w.safetensors")
        self.write(
            "config.yaml",
            f"model: model.yaml\nweights: {{file: w.safetensors}}\nengine: reference\n"
            f"input: {{images: [{SAMPLES}]}}\noutput: {{save: {{same: x.npy}}}}\n"
            f"preprocess: {{resize: {resize}, mean: {list(mean)}, std: {list(std)}}}\n",
        )
        self.halotile("run", "config.yaml", *QUICK, *words)
        return self.saved("x.npy")

    def test_equals_torchvision(self):
        images = [ImageOps.exif_transpose(Image.open(p)).convert("RGB") for p in photographs()]
        worst = 0
        for name, resample in (
            ("bilinear", transforms.InterpolationMode.BILINEAR),
            ("bicubic", transforms.InterpolationMode.BICUBIC),
        ):
            for resize, crop in ((256, 224), (232, 224), (64, 63), (300, 227)):
                steps = [
                    transforms.Resize(resize, interpolation=resample),
                    transforms.CenterCrop(crop),
                    transforms.ToTensor(),
                ]
                before = torch.stack([transforms.Compose(steps)(i) for i in images]).numpy()
                got = self.inputs(crop, resize, f"preprocess.interpolation={name}", mean=(0, 0, 0), std=(1, 1, 1))
                self.assertEqual(got.tobytes(), before.tobytes(), f"{name} {resize} {crop}: not the same bits")
                after = transforms.Normalize(MEAN, STD)(torch.from_numpy(before)).numpy()
                got = self.inputs(crop, resize, f"preprocess.interpolation={name}", mean=MEAN, std=STD)
                ulps = np.abs(got.view(np.int32).astype(np.int64) - after.view(np.int32).astype(np.int64))
                worst = max(worst, int(ulps.max()))
                self.assertLessEqual(worst, 1)
        FIGURES["preprocessing: bits before normalization"] = "equal"
        FIGURES["preprocessing: ulp after normalization"] = worst

    def test_ten_crops_equal_torchvision(self):
        steps = transforms.Compose([transforms.Resize(256), transforms.TenCrop(224)])
        wanted = [
            np.asarray(crop)
            for p in photographs()
            for crop in steps(ImageOps.exif_transpose(Image.open(p)).convert("RGB"))
        ]
        got = self.inputs(224, 256, "preprocess.crops=ten", mean=(0, 0, 0), std=(1, 1, 1))
        self.assertEqual(
            got.tobytes(), (np.stack(wanted).transpose(0, 3, 1, 2) / np.float32(255)).astype(np.float32).tobytes()
        )
        ours = [np.asarray(crop) for p in photographs() for crop in ten_crops(read_resized(p, 256), (224, 224))]
        self.assertEqual(np.stack(ours).tobytes(), np.stack(wanted).tobytes(), "the stored reference is torchvision's")

    def test_random_crops_equal_the_reference(self):
        for seed in (0, 1, 2**62):
            wanted = [
                np.asarray(augmented(read_resized(p, 256), (224, 224), seed, i)) for i, p in enumerate(photographs())
            ]
            got = self.inputs(224, 256, f"preprocess.augment.seed={seed}", mean=(0, 0, 0), std=(1, 1, 1))
            self.assertEqual(
                got.tobytes(), (np.stack(wanted).transpose(0, 3, 1, 2) / np.float32(255)).astype(np.float32).tobytes()
            )


class DropoutSamples(TorchCase):
    def test_alexnet(self):
        """torchvision's AlexNet with sampled dropout, against PyTorch with the same masks."""
        model = read_model(SOURCE / "configs/models/alexnet_torchvision.yaml")
        torch.manual_seed(9)
        network = Network(model)
        save_file(network.weights(), self.folder / "w.safetensors")
        network.double()
        x = np.random.default_rng(4).uniform(-2, 2, (2, 3, 224, 224)).astype(np.float32)
        np.save(self.folder / "x.npy", x)
        wanted = np.stack(
            [
                sampled_logits(network, model["layers"], torch.from_numpy(x).double(), 3, s, [0, 1]).numpy()
                for s in range(3)
            ],
            1,
        )
        self.halotile(
            "run",
            str(SOURCE / "configs/torchvision.yaml"),
            "weights.file=w.safetensors",
            "input.file=x.npy",
            "dropout={samples: 3, seed: 3}",
            f"output.directory={self.results}",
            "output.save={logits: l.npy}",
            *QUICK,
        )
        self.close("alexnet, dropout samples", self.saved("l.npy"), wanted.reshape(6, 1000))
        result = json.loads((self.results / "torchvision.run.json").read_text())
        probabilities = np.exp(wanted - wanted.max(2, keepdims=True))
        probabilities /= probabilities.sum(2, keepdims=True)
        for n, prediction in enumerate(result["predictions"]):
            for entry in prediction["top"]:
                of_class = probabilities[n, :, entry["class"]]
                self.assertAlmostEqual(entry["probability"], of_class.mean(), delta=1e-6)
                self.assertAlmostEqual(entry["deviation"], of_class.std(), delta=1e-6)


if __name__ == "__main__":
    import unittest

    if FIGURES_FILE is None:
        main()
    else:
        done = unittest.main(argv=[sys.argv[0], *sys.argv[2:]], exit=False).result
        if not done.wasSuccessful():
            sys.exit(1)
        from pathlib import Path

        from halotile_tools.common import provenance, write_json

        packages = ("torch", "torchvision", "numpy", "pillow", "safetensors")
        write_json(
            Path(FIGURES_FILE),
            {"largest_error_over_largest_magnitude": FIGURES, "provenance": provenance(packages, PROGRAM)},
        )
