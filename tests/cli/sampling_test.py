"""Ten crops, random crops and dropout samples against stored references (tests/golden/make_sampling_golden.py)."""

import json
import math
import struct
import zlib

from support import CONFIG, SAMPLES, SOURCE, Case, main, png

GOLDEN = SOURCE / "tests/golden/sampling"
FACTS = json.loads((GOLDEN / "facts.json").read_text())
QUICK = ("measure.warmup=0", "measure.min_runs=1")


def read_npy(path):
    """The values of a float32 .npy file."""
    data = path.read_bytes()
    data = data[10 + struct.unpack("<H", data[8:10])[0] :]
    return struct.unpack(f"<{len(data) // 4}f", data)


class Dropout(Case):
    def setUp(self):
        super().setUp()
        self.write(
            "config.yaml",
            f"""\
model: {GOLDEN}/model.yaml
device: cpu
weights: {{file: {GOLDEN}/weights.safetensors}}
input: {{file: {GOLDEN}/input.npy}}
dropout: {{samples: {FACTS["dropout"]["samples"]}, seed: {FACTS["dropout"]["seed"]}}}
output: {{save: {{logits: l.npy}}}}
threads: 1
measure: {{warmup: 0, min_runs: 1}}
""",
        )

    def logits(self, *words):
        return self.json_of("run", "config.yaml", *words), self.array("l.npy")

    def test_the_reference(self):
        for engine in ("reference", "onednn"):
            result, (shape, data) = self.logits(f"engine={engine}")
            wanted = read_npy(GOLDEN / "logits.npy")
            self.assertEqual(shape, (15, 5), "an image's samples follow each other")
            got = struct.unpack(f"<{len(wanted)}f", data)
            largest = max(map(abs, wanted))
            self.assertLess(max(abs(a - b) for a, b in zip(got, wanted)), 1e-5 * largest)
            mean, deviation = read_npy(GOLDEN / "mean.npy"), read_npy(GOLDEN / "deviation.npy")
            for n, prediction in enumerate(result["predictions"]):
                for entry in prediction["top"]:
                    self.assertAlmostEqual(entry["probability"], mean[5 * n + entry["class"]], delta=1e-6)
                    self.assertAlmostEqual(entry["deviation"], deviation[5 * n + entry["class"]], delta=1e-6)
            self.assertEqual(result["provenance"]["config"]["dropout"], FACTS["dropout"])

    def test_neither_patches_nor_streams_nor_batches_change_a_bit(self):
        whole = self.logits("engine=reference", "patch=whole")[1]
        for words in (
            ("patch.size=3",),
            ("patch={grid: [4, 3], stages: fused}", "streams=3"),
            ("patch.storage=packed", "patch.size=2"),
            ("input.batch=1",),
            ("input.batch=2", "sub_batch=1", "streams=2"),
            ("sub_batch=2",),
        ):
            with self.subTest(words=words):
                self.assertEqual(self.logits("engine=reference", *words)[1], whole)
        self.assertNotEqual(self.logits("engine=reference", "dropout.seed=12")[1], whole)
        one, first = self.logits("engine=reference", "dropout.samples=1")
        self.assertEqual(first[1], b"".join(whole[1][n * 100 : n * 100 + 20] for n in range(3)), "sample 0 is sample 0")
        self.assertEqual(one["predictions"][0]["top"][0]["deviation"], 0)

    def test_verify(self):
        self.assertIs(
            self.json_of("verify", "config.yaml", "engine=reference", "patch.size=3", "streams=2")["equal_bits"], True
        )

    def test_bf16_maps(self):
        if not self.json_of("info")["cpu_bf16"]:
            self.skipTest("this CPU does not multiply bf16")
        result = self.json_of("run", "config.yaml", "engine=onednn", "precision=bf16")
        mean = read_npy(GOLDEN / "mean.npy")
        for n, prediction in enumerate(result["predictions"]):
            for entry in prediction["top"]:
                self.assertAlmostEqual(entry["probability"], mean[5 * n + entry["class"]], delta=0.02)

    def test_text(self):
        self.assertIn("±", self.halotile("run", "config.yaml").stdout.decode())

    def test_what_cannot_be(self):
        self.refused(
            "run",
            "config.yaml",
            f"model={SOURCE}/configs/models/vit_patch_embed.yaml",
            "weights.random=1",
            "input.random=1",
            saying="has no dropout layer to sample",
        )
        self.refused("run", "config.yaml", "dropout={seed: 3}", saying="lacks the key 'samples'")
        self.refused("run", "config.yaml", "dropout.samples=0", saying="dropout.samples: is '0'; a whole number from 1")

    def test_probabilities_0_and_1(self):
        model = (GOLDEN / "model.yaml").read_text()
        self.write("zero.yaml", model.replace("p: 0.5", "p: 0").replace("p: 0.3", "p: 0").replace("p: 0.25", "p: 0"))
        self.halotile("run", "config.yaml", "model=zero.yaml", "dropout.samples=1", "engine=reference")
        none = self.array("l.npy")
        self.write("plain.yaml", (self.folder / "config.yaml").read_text().replace("dropout:", "# dropout:"))
        self.halotile("run", "plain.yaml", "engine=reference")
        self.assertEqual(self.array("l.npy"), none)
        self.write("all.yaml", model.replace("name: drop4, p: 0.5", "name: drop4, p: 1"))
        _, (_, data) = self.logits("model=all.yaml")
        self.assertEqual(len({data[20 * i : 20 * i + 20] for i in range(15)}), 1, "nothing but fc4's bias is left")


class Crops(Case):
    def setUp(self):
        super().setUp()
        height, width = FACTS["crop"]
        # The input itself is what is saved.
        self.write(
            "model.yaml",
            f"input: {{channels: 3, height: {height}, width: {width}}}\nlayers: [{{type: relu, name: same}}]\n",
        )
        self.write(
            "config.yaml",
            f"""\
model: model.yaml
device: cpu
input: {{images: [{SAMPLES}]}}
preprocess: {{resize: {FACTS["resize"]}, mean: [0, 0, 0], std: [1, 1, 1]}}
output: {{save: {{same: x.npy}}}}
threads: 1
measure: {{warmup: 0, min_runs: 1}}
""",
        )

    def checksums(self, *words):
        self.json_of("run", "config.yaml", *words)
        shape, data = self.array("x.npy")
        size = len(data) // shape[0]
        return [zlib.crc32(data[size * i : size * (i + 1)]) for i in range(shape[0])]

    def test_ten_crops(self):
        wanted = [c for image in FACTS["ten"] for c in image]
        for batch in ("input.batch=1", "input.batch=4", "input.decoders=3"):
            self.assertEqual(self.checksums("preprocess.crops=ten", batch), wanted)

    def test_random_crops(self):
        for words in (("input.batch=1",), ("input.batch=4", "input.decoders=3")):
            self.assertEqual(
                self.checksums(f"preprocess.augment.seed={FACTS['augment_seed']}", *words), FACTS["augment"]
            )
        self.assertNotEqual(self.checksums("preprocess.augment.seed=1"), FACTS["augment"])

    def test_images_smaller_than_the_crop(self):
        self.write("small.png", png(40, 40))
        for words in ("preprocess.crops=ten", "preprocess.augment.seed=1"):
            self.refused(
                "run",
                "config.yaml",
                words,
                "preprocess.resize=40",
                "input.images=small.png",
                saying=["small.png: is 40x40 when resized, smaller than the crop of 64x48", "preprocess.resize"],
            )
            self.refused(
                "verify", "config.yaml", words, "preprocess.resize=40", "input.images=small.png", saying="small.png"
            )


class TenCropPredictions(Case):
    def setUp(self):
        super().setUp()
        for i in range(3):
            self.write(f"photos/{i}.png", png(40, 31, bytes([80 * i, 99, 7 * i])))
        self.write("photos/rocket.jpg", (SAMPLES / "rocket.jpg").read_bytes())
        self.write(
            "config.yaml",
            CONFIG.replace("{random: 1, batch: 3}", "{images: photos, batch: 2}")
            + "preprocess: {resize: 32, crops: ten}\n",
        )

    def test_probabilities_are_averaged_over_the_crops(self):
        result = self.json_of("run", "config.yaml", *QUICK, "output.save={logits: l.npy}")
        shape, data = self.array("l.npy")
        self.assertEqual((shape, result["images"], result["batch"], len(result["predictions"])), ((40, 10), 4, 2, 4))
        for n, prediction in enumerate(result["predictions"]):
            mean = [0.0] * 10
            for view in range(10):
                logits = struct.unpack_from("<10f", data, 40 * (10 * n + view))
                powers = [math.exp(x - max(logits)) for x in logits]
                mean = [m + p / sum(powers) / 10 for m, p in zip(mean, powers)]
            order = sorted(range(10), key=lambda c: -mean[c])[:5]
            self.assertEqual([e["class"] for e in prediction["top"]], order)
            for entry in prediction["top"]:
                self.assertAlmostEqual(entry["probability"], mean[entry["class"]], delta=1e-12)
        self.assertIs(self.json_of("verify", "config.yaml")["equal_bits"], True)

    def test_broken_images_among_them(self):
        self.write("photos/1.png", "broken")
        done = self.halotile("run", "config.yaml", *QUICK, "input.on_error=skip", "--json")
        result = json.loads(done.stdout)
        self.assertEqual((result["images"], len(result["skipped"])), (3, 1))

    def test_one_of_crops_and_augment(self):
        self.assertEqual(
            self.json_of("run", "config.yaml", *QUICK, "preprocess.augment.seed=3")["images"], 4, "the last word counts"
        )
        self.write("config.yaml", CONFIG + "preprocess: {crops: ten, augment: {seed: 1}}\n")
        self.refused("run", "config.yaml", saying="preprocess: has both crops and augment; keep one of the two")


if __name__ == "__main__":
    main()
