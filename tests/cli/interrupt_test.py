"""Ctrl-C in the middle of long work: a message, status 130, no half-written file, and finished results kept.

`python3 tests/cli/interrupt_test.py PROGRAM --many 200` draws as many random moments (without the word, 30).
"""

import contextlib
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time

from support import Case, main, png

MANY = 30
if "--many" in sys.argv:
    at = sys.argv.index("--many")
    MANY = int(sys.argv[at + 1])
    del sys.argv[at : at + 2]

LONG = ("measure.min_runs=1000000", "measure.max_seconds=1000")


# Whatever those who started the test do with SIGHUP.
HANGS_UP = {"preexec_fn": lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL)}
SAVING = (*LONG, "output.save={logits: l.npy}")


class Interrupt(Case):
    def end(self, process, status):
        output, message = process.communicate(timeout=120)
        self.assertEqual(process.returncode, status, message)
        return output, message.decode()

    def test_run(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            with self.subTest(signal=number):
                process = self.start("run", "config.yaml", *SAVING, **HANGS_UP)
                self.wait_until_it_saves("l.npy", process)
                begin = time.monotonic()
                process.send_signal(number)
                output, message = self.end(process, 130)
                self.assertLess(time.monotonic() - begin, 20)
                self.assertEqual(output, b"")
                self.assertEqual(message, "halotile: interrupted; no result was written\n")
                self.assertEqual(self.files(), ["config.yaml", "model.yaml"])

    def test_signals_are_caught_first_of_all(self):
        # Whenever it comes: at the start nothing is there yet that would look at it.
        for _ in range(10):
            process = self.start("run", "config.yaml", *SAVING)
            self.wait_until_it_catches(signal.SIGINT, process)
            process.send_signal(signal.SIGINT)
            self.end(process, 130)
            self.assertEqual(self.files(), ["config.yaml", "model.yaml"])

    def test_a_terminal_that_closes_may_send_several(self):
        process = self.start(
            "run",
            "config.yaml",
            *SAVING,
            "streams=1",
            "input.height=1500",
            "input.width=1500",
            "patch=whole",
            "until=conv1",
            **HANGS_UP,
        )
        self.wait_until_it_saves("l.npy", process)
        for _ in range(5):
            process.send_signal(signal.SIGHUP)
            time.sleep(0.02)
        self.end(process, 130)
        self.assertEqual(self.files(), ["config.yaml", "model.yaml"])

    def test_nohup(self):
        process = self.start(
            "run",
            "config.yaml",
            "output.save={logits: l.npy}",
            "measure.min_runs=100000",
            "measure.max_seconds=1",
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
        )
        self.wait_until_it_saves("l.npy", process)
        process.send_signal(signal.SIGHUP)
        self.end(process, 0)
        self.assertIn("results/l.npy", self.files())

    def test_finished_results_are_kept(self):
        self.halotile("run", "config.yaml", "output.save={logits: l.npy}")
        before = {name: (self.folder / name).read_bytes() for name in self.files()}
        process = self.start("run", "config.yaml", *SAVING, "weights.random=8")
        self.wait_until_it_saves("l.npy", process)
        process.send_signal(signal.SIGINT)
        self.end(process, 130)
        self.assertEqual({name: (self.folder / name).read_bytes() for name in self.files()}, before)

    def test_verify(self):
        # Enough tiles and pixels for many seconds.
        self.write(
            "model.yaml",
            "input: {channels: 16, height: 400, width: 400}\nlayers:\n"
            + "  - {type: conv, out_channels: 16, kernel: 5, padding: 2}\n" * 8,
        )
        process = self.start("verify", "config.yaml", "patch.size=8")
        self.wait_until_it_catches(signal.SIGINT, process)
        time.sleep(1)  # into the work, where the machine is fast enough
        process.send_signal(signal.SIGINT)
        output, message = self.end(process, 130)
        self.assertEqual(output, b"")
        self.assertIn("interrupted", message)

    def test_a_second_ctrl_c_ends_at_once(self):
        process = self.start(
            "run",
            "config.yaml",
            *SAVING,
            "streams=1",
            "input.height=1500",
            "input.width=1500",
            "patch=whole",
            "until=conv1",
        )
        self.wait_until_it_saves("l.npy", process)
        process.send_signal(signal.SIGINT)
        time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=120)
        self.assertIn(process.returncode, (130, -signal.SIGINT))
        self.assertFalse((self.results / "config.run.json").exists())

    def test_memory_is_judged_before_anything_is_prepared(self):
        self.write("model.yaml", BIG.format(size=60000))
        for engine in ("onednn", "reference"):
            begin = time.monotonic()
            self.refused("run", "config.yaml", "patch=whole", f"engine={engine}", saying="not enough memory")
            self.assertLess(time.monotonic() - begin, 5)


BIG = """\
input: {{channels: 3, height: {size}, width: {size}}}
layers:
  - {{type: conv, out_channels: 64, kernel: 3, padding: 1}}
"""
DEEP = "input: {channels: 3, height: 64, width: 64}\nlayers:\n" + (
    "  - {type: conv, out_channels: 256, kernel: 3, padding: 1}\n  - {type: relu}\n" * 40
)
SWEEP = """\
model: model.yaml
input: {random: 1, batch: 2}
device: cpu
engine: reference
threads: 1
measure: {warmup: 0, min_runs: 3, max_seconds: 0.02}
sweep: {patch.size: [8, 12, whole], streams: [1, 2]}
"""
WHOLE = ("patch=whole", "streams=1")
# Commands in all their phases.
SCENES = {
    "run, many passes": ("run", "config.yaml", *SAVING),
    "run, short": ("run", "config.yaml", "output.save={logits: l.npy, pool1: p.npy}"),
    "run, one tile, onednn": ("run", "big.yaml", "engine=onednn", *WHOLE, *SAVING),
    "run, one tile, reference": ("run", "big.yaml", "engine=reference", *WHOLE, *SAVING),
    "run, a million tiles": ("run", "big.yaml", "patch.size=2", *SAVING),
    "run, saving a large map": ("run", "big.yaml", "until=conv1", "output.save={conv1: c.npy}", *WHOLE),
    "run, many weights": ("run", "deep.yaml", *SAVING),
    "run, a large picture": ("run", "config.yaml", "input={images: [large.png]}", "preprocess.resize=32", *SAVING),
    "run, a config that does not come": ("run", "pipe.yaml"),
    "verify": ("verify", "config.yaml", "patch.size=2", "input.batch=32"),
    "verify, large": ("verify", "big.yaml", "patch.size=100"),
    "plan, huge grid": ("plan", "huge.yaml", "patch.size=1"),
    "plan, huge grid, JSON": ("plan", "huge.yaml", "patch.size=1", "--json"),
    "plan, picture": ("plan", "config.yaml", "--image", "results/plan.png"),
    "sweep": ("sweep", "sweep.yaml"),
    "sweep, report": ("sweep", "sweep.yaml", "--report", "results/sweep.html"),
    "sweep, dry": ("sweep", "sweep.yaml", "--dry-run", "patch.size=range(1, 60, 1)", "input.batch=range(1, 60, 1)"),
    "report": ("report", "kept.db", "-o", "results/report.html"),
    "export": ("export", "kept.db"),
    "compare": ("compare", "kept.db", "kept.db"),
    "explain, store": ("explain", "kept.db"),
    "explain, config": ("explain", "config.yaml"),
    "info": ("info",),
}


class RandomMoments(Case):
    def setUp(self):
        super().setUp()
        self.write("big.yaml", "model: big_model.yaml\ninput: {random: 1}\nmeasure: {warmup: 0, min_runs: 1}\n")
        self.write("big_model.yaml", BIG.format(size=2500))
        self.write("huge.yaml", "model: huge_model.yaml\ninput: {random: 1}\n")
        self.write("huge_model.yaml", BIG.format(size=20000))
        self.write("deep.yaml", "model: deep_model.yaml\ninput: {random: 1}\n")
        self.write("deep_model.yaml", DEEP)
        self.write("sweep.yaml", SWEEP)
        self.write("large.png", png(6000, 5000))
        os.mkfifo(self.folder / "pipe.yaml")
        self.halotile("sweep", "sweep.yaml", "-o", "kept.db")
        info = self.json_of("info")
        # Sanitizers take their time to end a process.
        self.limit = 1 if "sanitize" not in str(info) and info["build_type"] == "Release" else 2
        self.own = set(self.files())

    def moment(self, words, wait):
        """Sends the signal so long after it is caught; the status, and how long the end took."""
        shutil.rmtree(self.results, ignore_errors=True)
        self.results.mkdir()
        # What is printed goes nowhere: a pipe that nobody empties would stop the program.
        process = self.start(*words, stdout=subprocess.DEVNULL)
        with contextlib.suppress(AssertionError, FileNotFoundError, ProcessLookupError, TypeError):
            self.wait_until_it_catches(signal.SIGINT, process)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(wait)
            process.stderr.close()
            return process.returncode, 0.0, ""
        begin = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, message = process.communicate(timeout=120)
        return process.returncode, time.monotonic() - begin, message.decode()

    def check_files(self):
        """Results together or not at all, nothing half written, stores sound."""
        new = set(self.files()) - self.own
        self.assertEqual([name for name in new if ".part" in name], [])
        arrays = {name for name in new if name.endswith(".npy")}
        if arrays:
            self.assertTrue(any(name.endswith(".run.json") for name in new), f"{new}: the result is missing")
        for store in (name for name in new if name.endswith(".db")):
            with contextlib.closing(sqlite3.connect(self.folder / store)) as database:
                self.assertEqual(database.execute("PRAGMA integrity_check").fetchall(), [("ok",)])

    def test_any_command_at_any_moment(self):
        draw = random.Random(11)
        lasts = {}  # seconds that a scene has been seen to last, for later moments
        slowest = (0.0, "")
        interrupted = ended_for_it = 0  # of those, how many did not get to it themselves
        for number in range(MANY):
            name = list(SCENES)[number % len(SCENES)]
            wait = draw.uniform(0, min(lasts.get(name, 2.0), 2.0))
            with self.subTest(number=number, scene=name, wait=wait):
                begin = time.monotonic()
                status, end, message = self.moment(SCENES[name], wait)
                if status in (0, 1) and message == "":
                    lasts[name] = time.monotonic() - begin
                else:
                    self.assertEqual(status, 130, message)
                    self.assertIn("halotile: interrupted", message)
                    interrupted += 1
                    ended_for_it += "only what was finished" in message
                self.assertLess(end, self.limit)
                slowest = max(slowest, (end, name))
                self.check_files()
        print(
            f"{MANY} moments, {interrupted} before the command's end, {ended_for_it} not by its own work; "
            f"slowest end {slowest[0]:.2f} s ({slowest[1]})"
        )
        self.assertGreater(interrupted, MANY // 3)


if __name__ == "__main__":
    main()
