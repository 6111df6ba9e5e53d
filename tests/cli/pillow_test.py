"""Against Pillow, live: pictures of every kind, orientation and sizes, pixel by pixel.

Needs numpy and Pillow from 13 on (experiments/python_env.sh installs them); without them it skips with the reason.
"""

import collections
import io
import json
import pathlib
import random
import subprocess
import sys
import warnings

from support import PROGRAM, Case, main

try:
    import numpy as np
    import PIL
    from PIL import Image, ImageOps
except ImportError as missing:
    print(f"skipped: {missing}; experiments/python_env.sh makes an environment with what this test needs")
    sys.exit(77)
if int(PIL.__version__.split(".")[0]) < 13:
    print(f"skipped: this is Pillow {PIL.__version__}, and halotile follows 13")
    sys.exit(77)

import picture_kinds

QUICK = ("measure.warmup=0", "measure.min_runs=1", "threads=1", "engine=reference")
RESAMPLE = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def by_pillow(data):
    """The picture as docs/networks.md promises it; nothing when Pillow refuses it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(data)) as image:
                if image.mode == "I;16":  # the table's first row: we scale where Pillow saturates
                    image = ImageOps.exif_transpose(image)
                    return np.repeat((np.asarray(image) >> 8).astype(np.uint8)[..., None], 3, 2)
                return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
        except Exception:
            return None


class Pictures(Case):
    """A model that changes nothing saves what was read."""

    def setUp(self):
        super().setUp()
        self.write("model.yaml", "input: {channels: 3, height: 1, width: 1}\nlayers:\n  - {type: relu, name: same}\n")
        self.write("config.yaml", "model: model.yaml\ninput: {images: x.png, on_error: skip}\noutput: {save: {same: x.npy}}\n"
                                  "preprocess: {mean: [0, 0, 0], std: [1, 1, 1]}\n")

    def pixels(self, files, height, width, *words):
        """What halotile reads of pictures, as 8-bit RGB; nothing of those that it refuses."""
        images = "[" + ", ".join(f"'{f}'" for f in files) + "]"
        done = subprocess.run([PROGRAM, "run", "config.yaml", f"input.images={images}", f"input.height={height}",
                               f"input.width={width}", *QUICK, *words, "--json"], cwd=self.folder, capture_output=True, timeout=240)
        if done.returncode == 2 and b"none of the" in done.stderr:
            return [None] * len(files)
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        skipped = {pathlib.Path(s["image"]).name for s in json.loads(done.stdout)["skipped"]}
        read = iter(np.rint(np.load(self.results / "x.npy") * 255).astype(np.uint8).transpose(0, 2, 3, 1))
        return [None if pathlib.Path(f).name in skipped else next(read) for f in files]

    def equal(self, kinds):
        """Compares all kinds that Pillow reads; returns their number."""
        groups = collections.defaultdict(list)
        refused = 0
        for number, (name, data) in enumerate(kinds.items()):
            wanted = by_pillow(data)
            refused += wanted is None
            if wanted is not None:
                groups[wanted.shape[:2]].append((name, wanted, self.write(f"{number}.picture", data).name))
        different = []
        for (height, width), group in groups.items():
            for (name, wanted, _), got in zip(group, self.pixels([f for _, _, f in group], height, width)):
                if got is None or not np.array_equal(got, wanted):
                    different.append(name + (": refused" if got is None else ""))
        self.assertEqual(different, [])
        print(f"{self.id().split('.')[-1]}: {len(kinds) - refused} equal, {refused} that Pillow refuses", file=sys.stderr)
        return len(kinds) - refused

    def test_png_kinds(self):
        self.assertGreaterEqual(self.equal(picture_kinds.png_kinds()), 69)

    def test_jpeg_samplings(self):
        self.assertGreaterEqual(self.equal(picture_kinds.jpeg_samplings()), 13)

    def test_jpeg_structures(self):
        self.assertGreaterEqual(self.equal(picture_kinds.jpeg_structures()), 18)

    def test_jpeg_written_by_pillow(self):
        kinds = {}
        image = Image.fromarray(np.random.default_rng(5).integers(0, 256, (29, 37, 3), dtype=np.uint8))
        for mode in ("RGB", "L", "CMYK"):
            for options in ({}, {"progressive": True}, {"quality": 100}, {"quality": 1}, {"optimize": True},
                            {"progressive": True, "subsampling": "4:2:2"}, {"restart_marker_rows": 1}):
                buffer = io.BytesIO()
                image.convert(mode).save(buffer, "JPEG", **options)
                kinds[f"{mode} {options}"] = buffer.getvalue()
        self.assertEqual(self.equal(kinds), len(kinds))

    def test_jpeg_markings(self):
        self.assertGreaterEqual(self.equal(picture_kinds.jpeg_markings()), 13)

    def test_four_channels(self):
        self.assertGreaterEqual(self.equal(picture_kinds.four_channel_kinds()), 6)

    def test_orientation(self):
        self.assertGreaterEqual(self.equal(picture_kinds.orientation_kinds()), 100)

    def test_resizing(self):
        """torchvision's Resize: the shorter side is named, the longer one follows."""
        generator = random.Random(3)
        rows_first = 0
        for number in range(60):
            height, width = generator.randint(2, 90), generator.randint(2, 90)
            if number % 2:
                height, width = generator.randint(60, 300), generator.randint(3, 60)
            side = generator.randint(1, 70)
            wanted = (int(side * height / width), side) if width <= height else (side, int(side * width / height))
            image = Image.fromarray(np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8))
            image.save(self.folder / "x.png")
            for name, resample in RESAMPLE.items():
                words = (f"preprocess.resize={side}", f"preprocess.interpolation={name}")
                new = np.asarray(image.resize(wanted[::-1], resample))
                old = np.asarray(image.resize((wanted[1], height), resample).resize(wanted[::-1], resample))
                rows_first += not np.array_equal(new, old)
                with self.subTest(height=height, width=width, side=side, filter=name):
                    self.assertTrue(np.array_equal(self.pixels(["x.png"], *wanted, *words)[0], new))
                    old_words = (*words, "preprocess.resize_order=pillow12")
                    self.assertTrue(np.array_equal(self.pixels(["x.png"], *wanted, *old_words)[0], old))
        self.assertGreater(rows_first, 20, "sizes for which the order matters")


if __name__ == "__main__":
    main()
