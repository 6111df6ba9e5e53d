"""Folders of images, batch by batch: broken images, bounded memory, the same bits, and Ctrl-C."""

import json
import os
import pty
import signal
import subprocess

from support import CONFIG, PROGRAM, SAMPLES, Case, main, png

QUICK = ("measure.warmup=0", "measure.min_runs=1")


class Folder(Case):
    def setUp(self):
        super().setUp()
        self.write("config.yaml", CONFIG.replace("{random: 1, batch: 3}", "{images: photos, batch: 2}"))
        self.sanitized = "sanitize" in str(self.json_of("info")) or self.json_of("info")["build_type"] != "Release"

    def many(self, count):
        """A folder `many` of `count` photographs, which are one file under many names."""
        first = self.write("many/00000.jpg", (SAMPLES / "rocket.jpg").read_bytes())
        for i in range(1, count):
            os.link(first, self.folder / f"many/{i:05}.jpg")

    def peak(self, *words):
        """Runs what must succeed; the largest resident set in bytes."""
        process = subprocess.Popen([PROGRAM, *words], cwd=self.folder, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        self.assertEqual(process.returncode, 0)
        return usage.ru_maxrss * 1024


class BrokenImages(Folder):
    def setUp(self):
        super().setUp()
        for i, good in enumerate((True, False, True, True, False, False, True, True)):
            self.write(f"photos/{i}.png", png(30, 30, bytes([30 * i, 80, 200 - 9 * i])) if good else b"no image")
        self.broken = [f"photos/{i}.png" for i in (1, 4, 5)]

    def test_skip_reports_each_and_fills_batches(self):
        words = (*QUICK, "output.save={logits: l.npy}")
        good = [f"photos/{i}.png" for i in (0, 2, 3, 6, 7)]
        self.halotile("run", "config.yaml", *words, f"input.images=[{', '.join(good)}]")
        wanted = self.array("l.npy")
        for decoders in (1, 3):
            done = self.halotile(
                "run", "config.yaml", *words, "input.on_error=skip", f"input.decoders={decoders}", "--json"
            )
            lines = done.stderr.decode().splitlines()
            self.assertEqual(len(lines), 3, lines)
            for line, name in zip(lines, self.broken):
                self.assertTrue(line.startswith("halotile: skipped: "), line)
                self.assertIn(name, line)
            self.assertEqual(self.array("l.npy"), wanted)
            self.assertEqual(wanted[0], (5, 10))
        result = self.json_of_skipping("run", "config.yaml", *words)
        self.assertEqual((result["images"], result["batch"], result["stream"]["images"]), (5, 2, 5))
        self.assertEqual([s["image"].split("photos")[-1] for s in result["skipped"]], ["/1.png", "/4.png", "/5.png"])
        self.assertTrue(all(s["image"] in s["error"] for s in result["skipped"]))
        self.assertEqual([p["image"][-5:] for p in result["predictions"]], [g[-5:] for g in good])

    def json_of_skipping(self, *words):
        return json.loads(self.halotile(*words, "input.on_error=skip", "--json").stdout)

    def test_one_batch_skips_too(self):
        result = self.json_of_skipping("run", "config.yaml", *QUICK, "input.batch=8")
        self.assertEqual((result["images"], len(result["skipped"])), (5, 3))
        self.assertNotIn("stream", result)

    def test_stop_is_the_default(self):
        self.refused("run", "config.yaml", *QUICK, saying="photos/1.png")
        self.refused(
            "run",
            "config.yaml",
            *QUICK,
            "input.images=[photos/0.png, photos/2.png, photos/4.png]",
            saying="photos/4.png",
        )

    def test_nothing_left(self):
        self.refused(
            "run",
            "config.yaml",
            "input.on_error=skip",
            f"input.images=[{', '.join(self.broken)}]",
            saying=["none of the 3 images can be read", "photos/1.png"],
        )


class Streaming(Folder):
    def test_every_batch_and_decoder_count_gives_the_same_bits(self):
        for i in range(11):
            self.write(f"photos/{i:02}.png", png(30 + i, 31, bytes([20 * i, 77, 255 - 20 * i])))
        results = set()
        for words in (
            ("input.batch=11",),
            ("input.batch=1", "input.decoders=4"),
            ("input.batch=4",),
            ("input.decoders=2",),
        ):
            result = self.json_of("run", "config.yaml", *QUICK, *words, "output.save={logits: l.npy, conv1: c.npy}")
            results.add((self.array("l.npy"), self.array("c.npy")))
            self.assertEqual("stream" in result, words[0] != "input.batch=11")
        self.assertEqual(len(results), 1)
        self.assertEqual(self.array("c.npy")[0], (11, 8, 12, 10))

    def test_what_is_told_of_the_pass(self):
        self.many(9)
        stream = self.json_of("run", "config.yaml", *QUICK, "input.images=many", "input.decoders=3")["stream"]
        self.assertEqual((stream["images"], stream["decoders"]), (9, 3))
        self.assertAlmostEqual(stream["images_per_second"], 9 / stream["seconds"])
        self.assertGreater(stream["decode_seconds"], 0)
        self.assertLessEqual(stream["compute_seconds"] + stream["wait_seconds"], stream["seconds"])

    def test_a_terminal_shows_how_far_it_is(self):
        self.many(3000)
        ours, theirs = pty.openpty()
        words = ("run", "config.yaml", *QUICK, "input.images=many", "input.batch=50")
        process = subprocess.Popen([PROGRAM, *words], cwd=self.folder, stdout=subprocess.DEVNULL, stderr=theirs)
        os.close(theirs)
        shown = b""
        while True:
            try:
                part = os.read(ours, 4096)
            except OSError:  # the other side is closed
                break
            if not part:
                break
            shown += part
        os.close(ours)
        self.assertEqual(process.wait(), 0)
        self.assertRegex(shown.decode(), r"\r\x1b\[K\d+/3000 images, [\d.]+ images/s, \d+ s left")
        self.assertTrue(shown.endswith(b"\r\x1b[K"), "the line is gone at the end")

    def test_memory_does_not_grow_with_the_images(self):
        if self.sanitized:
            self.skipTest("sanitizers keep memory of their own")
        self.many(2000)
        words = ("run", "config.yaml", *QUICK, "input.batch=20", "preprocess.resize=32", "output.save={conv1: c.npy}")
        few = self.peak(*words, f"input.images=[{', '.join(f'many/{i:05}.jpg' for i in range(200))}]")
        all_of_them = self.peak(*words, "input.images=many")
        self.assertEqual(self.array("c.npy")[0], (2000, 8, 12, 10))
        saved = 2000 * 8 * 12 * 10 * 4
        self.assertGreater(saved, 7 << 20, "what is saved alone would be seen")
        self.assertLess(all_of_them - few, 6 << 20)

    def test_ctrl_c(self):
        self.many(20000)
        process = self.start("run", "config.yaml", *QUICK, "input.images=many", "output.save={conv1: c.npy}")
        # Behind the head of the file come whole batches.
        self.wait_until(lambda: any(part.stat().st_size > 4096 for part in self.results.glob(".c.npy.*.part")), process)
        process.send_signal(signal.SIGINT)
        output, message = process.communicate(timeout=120)
        self.assertEqual((process.returncode, output), (130, b""))
        self.assertEqual(message, b"halotile: interrupted; no result was written\n")
        self.assertEqual([f for f in self.files() if not f.startswith("many/")], ["config.yaml", "model.yaml"])


if __name__ == "__main__":
    main()
