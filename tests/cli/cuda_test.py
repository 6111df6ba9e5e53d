"""The program on a GPU: device choice, memory modes, what a run tells of its time, verification, Ctrl-C.

Skipped without a usable GPU; with HALOTILE_REQUIRE_GPU=1 that is a failure.
"""

import array
import json
import math
import os
import random
import signal
import subprocess
import time

from support import PROGRAM, SAMPLES, Case, main, npy

FIRST_LAYER = """\
input: {channels: 3, height: 99, width: 115}
layers:
  - {type: conv, name: conv1, out_channels: 16, kernel: 11, stride: 4, padding: 2}
"""

GPU = ("device=cuda", "engine=auto")
COMPONENTS = {"allocation_ms", "host_to_device_ms", "device_to_host_ms", "kernels_ms", "pack_ms", "place_ms", "host_idle_ms"}


class Cuda(Case):
    def setUp(self):
        super().setUp()
        info = self.json_of("info")
        if info["cuda"] is None:
            if os.environ.get("HALOTILE_REQUIRE_GPU") == "1":
                self.fail(f"HALOTILE_REQUIRE_GPU=1, but: {info['cuda_obstacle']}")
            self.skipTest(info["cuda_obstacle"])

    def test_device_auto_takes_the_gpu(self):
        result = self.json_of("run", "config.yaml", "engine=auto")
        self.assertEqual((result["engine"], result["device"], result["device_note"]), ("direct", "cuda:0", None))
        self.assertIn("constant memory", result["engine_note"])

    def test_no_such_gpu(self):
        self.refused("run", "config.yaml", "device=cuda:99", "engine=auto", saying=["there is no GPU cuda:99", "change device"])

    def test_every_memory_mode_gives_the_bits_of_the_reference(self):
        save = "output.save={logits: logits.npy, conv2: conv2.npy}"
        self.halotile("run", "config.yaml", "engine=reference", save)
        expected = {name: (self.results / name).read_bytes() for name in ("logits.npy", "conv2.npy")}
        ways = [("memory=arena",), ("memory=pool",), ("dispatch=graph",), ("patch.storage=packed",), ("measure.input=device", "sub_batch=1"), ("direct.stage=filter",)]
        for way in ways:
            with self.subTest(way=way):
                result = self.json_of("run", "config.yaml", *GPU, *way, save)
                self.assertEqual({name: (self.results / name).read_bytes() for name in expected}, expected)
                self.assertEqual(set(result["components"]), COMPONENTS)
                self.assertGreater(result["components"]["kernels_ms"]["conv"], 0)
                self.assertGreater(result["components"]["kernels_ms"]["fully_connected"], 0)
                if way != ("measure.input=device", "sub_batch=1"):
                    self.assertGreater(result["components"]["host_to_device_ms"], 0)
                self.assertEqual(result["components"]["allocation_ms"] > 0, way[0] == "memory=pool")
                self.assertEqual(result["components"]["pack_ms"] > 0, way[0] == "patch.storage=packed")

    def test_verify(self):
        for way in ((), ("patch.storage=packed",), ("memory=pool",), ("dispatch=graph",), ("sub_batch=1", "streams=4")):
            with self.subTest(way=way):
                result = self.json_of("verify", "config.yaml", *GPU, *way)
                self.assertTrue(result["equal_bits"])
                self.assertEqual(result["device"], "cuda:0")

    def test_pixels(self):
        words = (*GPU, f"input={{images: [{SAMPLES}], batch: 4, upload: uint8}}", "preprocess={crop: [24, 20], resize: 32}")
        self.assertTrue(self.json_of("verify", "config.yaml", *words)["equal_bits"])

    def test_cudnn(self):
        """Where cuDNN is, logits close to the reference's for whatever patching; where it is not, one clear line."""
        info = self.json_of("info")
        if info["cudnn"] is None:
            self.refused("run", "config.yaml", "device=cuda", "engine=cudnn", saying=["engine: cudnn: ", info["cudnn_obstacle"]])
            return
        self.assertIn("cudnn", info["engines"])
        for precision in ("fp32", "tf32", "bf16", "fp16"):
            with self.subTest(precision=precision):
                words = ("device=cuda", "engine=cudnn", f"precision={precision}")
                result = self.json_of("run", "config.yaml", *words)
                self.assertEqual(result["engine"], "cudnn")
                self.assertIn(f"cuDNN {info['cudnn']}", result["engine_note"])
                done = subprocess.run([PROGRAM, "verify", "config.yaml", "--json", *words], cwd=self.folder, stdout=subprocess.PIPE, timeout=240)
                self.assertIn(done.returncode, (0, 1))
                logits = json.loads(done.stdout)["logits"]
                print(f"cudnn {precision}: {logits['different']} of {logits['elements']} logits differ, up to {logits['max_abs']}")
                self.assertLess(logits["max_abs"], 1e-4 if precision == "fp32" else 0.1)

    def test_infinities_and_nan_beside_windows(self):
        """tensor_core, a first layer of blocks that reach beyond its windows: in its map they are where reference has them, by every
        dispatch, whole and in tiles, and run after run."""
        shape = (2, 3, 99, 115)
        draw = random.Random(1)
        pixels = [draw.uniform(-1, 1) for _ in range(math.prod(shape))]
        for value in (math.nan, math.inf, -math.inf) * 2:
            pixels[draw.randrange(len(pixels) // 2, len(pixels))] = value  # of the second image
        self.write("x.npy", npy(shape, pixels))
        self.write("model.yaml", FIRST_LAYER)
        words = ("until=conv1", "input={file: x.npy, batch: 2}", "output.save={conv1: conv1.npy}")
        expected = self.kinds("engine=reference", *words)
        self.assertEqual(set(expected), {"finite", "nan", "inf", "-inf"})
        for precision in ("bf16", "fp16", "tf32", "fp32"):
            for dispatch in ("streams", "graph", "batched"):
                for way in ((), ("patch.grid=[1,1]", "streams=1"), ("sub_batch=1",)):
                    with self.subTest(precision=precision, dispatch=dispatch, way=way):
                        engine = ("device=cuda", "engine=tensor_core", f"precision={precision}", f"dispatch={dispatch}")
                        if dispatch == "batched":
                            engine += ("streams=1",)
                        self.assertEqual(self.kinds(*engine, *words, *way), expected)
                        self.assertTrue(self.json_of("verify", "config.yaml", *engine, *words[:2], *way)["equal_bits"])

    def kinds(self, *words):
        """What each element of the map of conv1 is."""
        self.json_of("run", "config.yaml", *words)
        values = array.array("f", self.array("conv1.npy")[1])
        return ["finite" if math.isfinite(x) else str(abs(x) if math.isnan(x) else x) for x in values]

    def test_interrupt(self):
        for way in ("dispatch=streams", "dispatch=graph", "memory=pool"):
            with self.subTest(way=way):
                process = self.start("run", "config.yaml", *GPU, way, "measure.min_runs=1000000", "measure.max_seconds=1000")
                self.wait_until_it_catches(signal.SIGINT, process)
                time.sleep(4)  # into the work, where the machine is fast enough
                process.send_signal(signal.SIGINT)
                output, message = process.communicate(timeout=60)
                self.assertEqual((process.returncode, output), (130, b""), message)
                self.assertEqual(message.decode(), "halotile: interrupted; no result was written\n")


if __name__ == "__main__":
    main()
