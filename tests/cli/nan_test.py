"""NaN in weights and inputs, from the file to the classes: no layer of any of the CPU's engines may lose one."""

import array
import json
import math
import random
import struct
import unittest

from support import Case, main

IMAGES, CHANNELS, EDGE = 3, 3, 10
FILTERS, POOLED, CLASSES = 16, 4, 5

MODEL = f"""\
input: {{channels: {CHANNELS}, height: {EDGE}, width: {EDGE}}}
layers:
  - {{type: conv, name: conv1, out_channels: {FILTERS}, kernel: 3}}
  - {{type: relu, name: relu1}}
  - {{type: max_pool, name: pool1, kernel: 2}}
  - {{type: fully_connected, name: fc1, out_features: {CLASSES}}}
  - {{type: relu, name: relu2}}
  - {{type: fully_connected, name: fc2, out_features: {CLASSES}}}
  - {{type: softmax, name: prob}}
"""

CONFIG = """\
model: model.yaml
input: {file: x.npy, batch: 3}
weights: {file: w.safetensors}
device: cpu
output: {save: {pool1: pool1.npy, logits: logits.npy}}
measure: {warmup: 0, min_runs: 1}
"""

SHAPES = {
    "conv1.weight": (FILTERS, CHANNELS, 3, 3),
    "conv1.bias": (FILTERS,),
    "fc1.weight": (CLASSES, FILTERS * POOLED * POOLED),
    "fc1.bias": (CLASSES,),
    "fc2.weight": (CLASSES, CLASSES),
    "fc2.bias": (CLASSES,),
}


def numbers(seed, count):
    draw = random.Random(seed)
    return [draw.uniform(-0.5, 0.5) for _ in range(count)]


def safetensors(tensors):
    head, body = {}, b""
    for name, values in tensors.items():
        data = struct.pack(f"<{len(values)}f", *values)
        head[name] = {"dtype": "F32", "shape": SHAPES[name], "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(head).encode()
    return struct.pack("<Q", len(text)) + text + body


def npy(shape, values):
    head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".encode()
    head += b" " * (-(len(head) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + struct.pack(f"<{len(values)}f", *values)


class Nan(Case):
    def setUp(self):
        super().setUp()
        self.write("model.yaml", MODEL)
        self.write("config.yaml", CONFIG)
        self.weights = {name: numbers(name, math.prod(shape)) for name, shape in SHAPES.items()}
        # Above zero, so that no ReLU hides what comes behind it.
        self.weights["fc1.bias"] = [10.0] * CLASSES
        self.pixels = numbers("x", IMAGES * CHANNELS * EDGE * EDGE)
        self.write_files()
        provenance = self.json_of("run", "config.yaml", "output.save={}")["provenance"]
        self.ways = [("engine=reference",), ("engine=onednn",), ("engine=onednn", "patch.grid=[3,2]", "streams=2")]
        self.ways.append(("engine=reference", "patch.grid=[2,3]"))
        if provenance["cpu_bf16"]:
            self.ways += [way + ("precision=bf16",) for way in self.ways if "engine=onednn" in way]

    def write_files(self):
        self.write("w.safetensors", safetensors(self.weights))
        self.write("x.npy", npy((IMAGES, CHANNELS, EDGE, EDGE), self.pixels))

    def nan_at(self, name, rows):
        """Which elements of a saved map are NaN, in `rows` equal parts."""
        values = array.array("f", self.array(name)[1])
        width = len(values) // rows
        return [[math.isnan(x) for x in values[r * width : (r + 1) * width]] for r in range(rows)]

    def check(self, nan_logits):
        """nan_logits: of every image, which logits are NaN."""
        nan_images = sum(map(any, nan_logits))
        for way in self.ways:
            with self.subTest(way=way):
                result = self.json_of("run", "config.yaml", *way)
                self.assertEqual(self.nan_at("logits.npy", IMAGES), nan_logits)
                self.assertEqual(result["nan_images"], nan_images)
                self.assertEqual([p["top"] == [] for p in result["predictions"]], [any(image) for image in nan_logits])
                self.assertTrue(self.json_of("verify", "config.yaml", *way)["equal_bits"])
        said = self.halotile("run", "config.yaml", "engine=onednn").stdout.decode()
        self.assertEqual("outputs that are not numbers (NaN), and so no prediction" in said, nan_images > 0)

    def test_none_without_any(self):
        self.check([[False] * CLASSES] * IMAGES)

    def test_all_weights_of_a_convolution(self):
        self.weights["conv1.weight"] = [math.nan] * len(self.weights["conv1.weight"])
        self.write_files()
        self.check([[True] * CLASSES] * IMAGES)

    def test_one_weight_of_a_convolution(self):
        self.weights["conv1.weight"][7 * CHANNELS * 9 + 4] = math.nan
        self.write_files()
        self.check([[True] * CLASSES] * IMAGES)
        for way in self.ways:
            with self.subTest(way=way):
                self.json_of("run", "config.yaml", *way)
                maps = self.nan_at("pool1.npy", IMAGES * FILTERS)
                self.assertEqual(maps, [[n % FILTERS == 7] * POOLED**2 for n in range(IMAGES * FILTERS)])

    def test_one_weight_behind_a_relu(self):
        self.weights["fc2.weight"][2 * CLASSES] = math.nan
        self.write_files()
        self.check([[c == 2 for c in range(CLASSES)]] * IMAGES)

    def test_one_weight_in_front_of_a_relu(self):
        self.weights["fc1.weight"][5] = math.nan
        self.write_files()
        self.check([[True] * CLASSES] * IMAGES)

    def test_one_pixel(self):
        clean = {}
        for way in self.ways:
            self.json_of("run", "config.yaml", *way)
            clean[way] = self.array("logits.npy")[1]
        self.pixels[(CHANNELS + 1) * EDGE * EDGE + 4 * EDGE + 5] = math.nan  # image 1, channel 1, row 4, column 5
        self.write_files()
        self.check([[image == 1] * CLASSES for image in range(IMAGES)])
        # Rows 2 to 4 and columns 3 to 5 of the convolution see it, so rows and columns 1 and 2 of the pool.
        seen = [row in (1, 2) and col in (1, 2) for row in range(POOLED) for col in range(POOLED)]
        for way in self.ways:
            with self.subTest(way=way):
                self.json_of("run", "config.yaml", *way)
                self.assertEqual(self.nan_at("pool1.npy", IMAGES * FILTERS),
                                 [[n // FILTERS == 1 and s for s in seen] for n in range(IMAGES * FILTERS)])
                logits = self.array("logits.npy")[1]
                size = 4 * CLASSES
                for image in (0, 2):
                    self.assertEqual(logits[image * size : (image + 1) * size], clean[way][image * size : (image + 1) * size])


if __name__ == "__main__":
    main()
