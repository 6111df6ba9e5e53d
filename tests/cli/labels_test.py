"""Class names, labels and accuracy: a trained network's answers equal PyTorch's, patched and whole."""

import ast
import json
import os
import struct
import subprocess

from support import CONFIG, MODEL, PROGRAM, SOURCE, Case, main, png

DIGITS = SOURCE / "configs/digits.yaml"
QUICK = ("measure.warmup=0", "measure.min_runs=1", "threads=1", "device=cpu")


def read_logits():
    """PyTorch's float64 logits of the held-out digits, an image a row."""
    data = (SOURCE / "tests/golden/digits/logits.npy").read_bytes()
    length = struct.unpack("<H", data[8:10])[0]
    header = ast.literal_eval(data[10 : 10 + length].decode())
    rows, columns = header["shape"]
    values = struct.unpack(f"<{rows * columns}d", data[10 + length :])
    return [values[columns * r : columns * (r + 1)] for r in range(rows)]


class Digits(Case):
    def test_accuracy_is_pytorchs_and_no_image_is_classified_differently(self):
        logits = read_logits()
        wanted = [max(range(10), key=row.__getitem__) for row in logits]
        for words in (("patch=whole", "streams=1"), ("patch.size=8",), ("patch.size=5", "streams=3", "input.batch=37"),
                      ("patch={grid: 3, stages: fused}", "sub_batch=7"), ("patch={size: 4, storage: packed}",),
                      ("engine=reference", "patch.size=16")):
            with self.subTest(words=words):
                result = self.json_of("run", str(DIGITS), *QUICK, *words)
                self.assertEqual([p["top"][0]["class"] for p in result["predictions"]], wanted)
                self.assertEqual((result["accuracy"]["correct"], result["accuracy"]["images"]), (353, 360))
                self.assertAlmostEqual(result["accuracy"]["top1"], 353 / 360)
                self.assertGreaterEqual(result["accuracy"]["top5"], result["accuracy"]["top1"])
        self.assertFalse(result["random_weights"])
        self.assertEqual(result["predictions"][0]["top"][0]["name"], "2")
        self.assertEqual(result["predictions"][0]["label"], 2)

    def test_text(self):
        text = self.halotile("run", str(DIGITS), *QUICK).stdout.decode()
        self.assertIn("accuracy: 353 of 360 labelled images right (98.1%)", text)
        self.assertNotIn("weights are random", text)


class Names(Case):
    def setUp(self):
        super().setUp()
        self.write("model.yaml", "class_names: names.txt\n" + MODEL)
        self.write("names.txt", "".join(f"class {c}\n" for c in "abcdefghij"))
        for name in ("one", "two", "three"):
            self.write(f"photos/{name}.png", png(30, 30, bytes([len(name) * 20, 9, 99])))
        self.write("config.yaml", CONFIG.replace("{random: 1, batch: 3}", "{images: photos, labels: labels.csv}"))

    def test_names_stand_in_text_and_json(self):
        self.write("labels.csv", "file,label\nphotos/one.png,class c\nphotos/two.png,2\n")
        result = self.json_of("run", "config.yaml")
        for prediction in result["predictions"]:
            for entry in prediction["top"]:
                self.assertEqual(entry["name"], "class " + "abcdefghij"[entry["class"]])
        labels = {p["image"].split("/")[-1]: p.get("label") for p in result["predictions"]}
        self.assertEqual(labels, {"one.png": 2, "two.png": 2, "three.png": None})
        self.assertEqual(result["accuracy"]["images"], 2)
        text = self.halotile("run", "config.yaml").stdout.decode()
        self.assertIn("of 2 labelled images right", text)
        self.assertIn("classes mean nothing", text)

    def test_labels_of_no_image_are_told(self):
        self.write("labels.csv", "file,label\nphotos/one.png,1\nphotos/tow.png,2\nelse\x1b[31mwhere.png,3\n")
        done = self.halotile("run", "config.yaml")
        self.assertEqual(done.stderr.decode(), "halotile: 2 of the 3 labels are of no image of the input, the first in line 3: "
                                               "'photos/tow.png'\n")
        self.assertIn("of 1 labelled images right", done.stdout.decode())
        result = json.loads(self.halotile("run", "config.yaml", "--json").stdout)
        self.assertEqual(result["unused_labels"], {"count": 2, "first": [{"line": 3, "file": "photos/tow.png"},
                                                                         {"line": 4, "file": "else\x1b[31mwhere.png"}]})
        self.write("labels.csv", "file,label\nphotos/one.png,1\n")
        self.assertEqual(self.json_of("run", "config.yaml")["unused_labels"], {"count": 0, "first": []})

    def test_control_characters_do_not_reach_the_terminal(self):
        evil = "\x1b]0;owned\x07\x9b31m\r"
        self.write("names.txt", "".join(f"class {c} {evil}\n" for c in "abcdefghij"))
        self.write("model.yaml", "class_names: names.txt\n" + MODEL.replace("name: conv1", 'name: "conv\\e[31m1"')
                   + 'name: "net\\e[2J"\n')
        os.rename(self.folder / "photos/one.png", self.folder / f"photos/a{evil}\nb.png")
        self.write("photos/broken\x1b[31m\n.png", b"no picture")
        self.write("labels.csv", f"file,label\nphotos/two.png,3\nno\x1b[31mne.png,4\n")
        for words in (("run", "config.yaml", "input.on_error=skip"), ("run", "config.yaml", "input.on_error=skip", "--json"),
                      ("plan", "config.yaml"), ("verify", "config.yaml", "input.images=photos/two.png"),
                      ("sweep", "config.yaml", "until=conv\x1b[31m1,conv2", "--dry-run"),
                      ("run", "config.yaml", "stre\x1b[31mams=2"), ("run", "config.yaml", "input.labels=\x1b[31m.csv"),
                      ("run", "config.yaml", "input.images=photos/broken\x1b[31m\n.png"), ("run", "\x1b[31m\n.yaml"), ("\x1b[31m",)):
            with self.subTest(words=words):
                done = subprocess.run([PROGRAM, *words], cwd=self.folder, capture_output=True, timeout=240)
                for text in (done.stdout.decode(), done.stderr.decode()):
                    self.assertEqual([c for c in text if c != "\n" and (c < " " or "\x7f" <= c < "\xa0")], [], text)
                if done.returncode == 2:
                    self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)

    def test_without_labels_there_is_no_accuracy(self):
        self.assertNotIn("accuracy", self.json_of("run", "config.yaml", "input.labels="))

    def test_random_inputs_drop_the_labels(self):
        self.assertEqual(self.json_of("run", "config.yaml", "input.random=1")["images"], 1)

    def test_names_that_do_not_fit(self):
        self.write("labels.csv", "file,label\nphotos/one.png,1\n")
        self.write("names.txt", "a\nb\n")
        self.refused("run", "config.yaml", saying=["names.txt: names 2 classes, but the network has 10", "one name a line"])
        self.write("names.txt", "a\n\nb\n")
        self.refused("run", "config.yaml", saying="names.txt:2: is empty; each line must name a class")
        (self.folder / "names.txt").unlink()
        self.refused("run", "config.yaml", saying="names.txt")

    def test_names_of_the_last_layer_do_not_hold_inside(self):
        self.write("labels.csv", "file,label\nphotos/one.png,1\n")
        result = self.json_of("run", "config.yaml", "until=conv2", "input.labels=")
        self.assertEqual(result["predictions"], [])

    def test_labels_that_cannot_be(self):
        for text, saying in (
            ("photos/one.png,1\n", "labels.csv:1: must be the head `file,label`"),
            ("", "labels.csv:1: must be the head"),
            ("file,label\nphotos/one.png\n", "labels.csv:2: is not of the form"),
            ("file,label\nphotos/one.png,1,2\n", "labels.csv:2: is not of the form"),
            ('file,label\n"photos/one.png,1\n', "labels.csv:2: is not of the form"),
            ("file,label\nphotos/one.png,10\n", "labels.csv:2: class 10 is none of the network's 10"),
            ("file,label\nphotos/one.png,-1\n", "labels.csv:2: class -1 is none"),
            ("file,label\nphotos/one.png,cat\n", "labels.csv:2: 'cat' is no class of the network"),
            ("file,label\nphotos/one.png,1\nphotos/../photos/one.png,1\n", "labels.csv:3: 'photos/../photos/one.png' stands twice"),
            ("file,label\nelsewhere.png,1\n", "has a label for none of the 3 images"),
        ):
            with self.subTest(text=text):
                self.write("labels.csv", text)
                self.refused("run", "config.yaml", saying=saying)
        self.refused("run", "config.yaml", "input.labels=nowhere.csv", saying="nowhere.csv")
        self.write("config.yaml", CONFIG.replace("batch: 3", "batch: 3, labels: labels.csv"))
        self.refused("run", "config.yaml", saying="input.labels: belongs to photographs")

    def test_several_classes_of_one_name(self):
        self.write("names.txt", "crane\ncrane\n" + "".join(f"{c}\n" for c in "abcdefgh"))
        self.write("labels.csv", "file,label\nphotos/one.png,crane\n")
        self.refused("run", "config.yaml", saying="labels.csv:2: several classes are called 'crane'; use the class's number")

    def test_quoted_names_and_windows_line_ends(self):
        self.write("photos/a, b.png", png(30, 30))
        self.write("labels.csv", 'file,label\r\n"photos/a, b.png",3\r\n')
        self.assertEqual(self.json_of("run", "config.yaml")["accuracy"]["images"], 1)


class NotNumbers(Case):
    """Class 0 weighs the pixels with infinity: NaN (0 x inf) of a black photograph, infinity of others."""

    def setUp(self):
        super().setUp()
        self.write("model.yaml", "input: {channels: 3, height: 2, width: 2}\nlayers:\n"
                                 "  - {type: avg_pool, name: pool, kernel: 2}\n  - {type: flatten}\n"
                                 "  - {type: fully_connected, name: fc, out_features: 2, bias: false}\n")
        values = struct.pack("<6f", *[float("inf")] * 3, 0, 0, 0)
        head = json.dumps({"fc.weight": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, len(values)]}}).encode()
        self.write("w.safetensors", struct.pack("<Q", len(head)) + head + values)
        self.write("photos/black.png", png(2, 2, b"\0\0\0"))
        self.write("photos/grey.png", png(2, 2, b"\x60\x60\x60"))
        self.write("labels.csv", "file,label\nphotos/black.png,1\nphotos/grey.png,0\n")
        self.write("config.yaml", "model: model.yaml\nweights: {file: w.safetensors}\nengine: reference\nthreads: 1\n"
                                  "input: {images: photos, labels: labels.csv, batch: 2}\n"
                                  "preprocess: {mean: [0, 0, 0], std: [1, 1, 1]}\nmeasure: {warmup: 0, min_runs: 1}\n")

    def test_nan_is_no_prediction_and_infinity_is_one(self):
        for words in ((), ("input.batch=1",), ("preprocess.crops=ten", "input.batch=1")):
            with self.subTest(words=words):
                result = self.json_of("run", "config.yaml", *words)
                black, grey = result["predictions"]
                self.assertEqual((black["top"], black["label"]), ([], 1))
                self.assertEqual([(r["class"], round(r["probability"], 9)) for r in grey["top"]], [(0, 1), (1, 0)])
                self.assertEqual(result["nan_images"], 1)
                self.assertEqual(result["accuracy"], {"correct": 1, "images": 2, "top1": 0.5, "top5": 0.5})
        text = self.halotile("run", "config.yaml").stdout.decode()
        self.assertIn("1 of 2 images have outputs that are not numbers (NaN), and so no prediction\n", text)
        self.assertIn("accuracy: 1 of 2 labelled images right (50.0%), 50.0% among the first five\n", text)

    def test_none_of_the_usual_ones_is_counted(self):
        self.assertEqual(self.json_of("run", "config.yaml", "input.images=photos/grey.png")["nan_images"], 0)


if __name__ == "__main__":
    main()
