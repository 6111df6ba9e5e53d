"""`halotile sweep` from outside: killed at any moment, by Ctrl-C or a full disk, two at once; axes, exports,
terminals."""

import contextlib
import csv
import io
import json
import os
import pty
import random
import re
import resource
import signal
import sqlite3
import subprocess

from support import PROGRAM, Case, main

SWEEP = """\
model: model.yaml
input: {random: 1, batch: 2}
device: cpu
engine: reference
threads: 1
measure: {warmup: 0, min_runs: 6, max_seconds: 0.02}
sweep:
  patch.size: [8, 12, whole]
  streams: range(1, 5)
"""
POINTS = 12
KILLS = 50


class Sweep(Case):
    def setUp(self):
        super().setUp()
        self.write("sweep.yaml", SWEEP)

    def store(self, name="results/sweep.db"):
        return contextlib.closing(sqlite3.connect(f"file:{self.folder / name}?mode=ro", uri=True))

    def check(self, name="results/sweep.db"):
        with self.store(name) as store:
            self.assertEqual(store.execute("PRAGMA integrity_check").fetchall(), [("ok",)])

    def points(self, name="results/sweep.db"):
        """What of the points does not depend on time: hash, settings, status, bits."""
        with self.store(name) as store:
            return sorted(store.execute("SELECT config_hash, settings, status, logits_hash, sequence FROM point"))

    def start(self, *words, **how):
        return super().start("sweep", "sweep.yaml", *words, **how)

    def test_killed_at_any_moment_it_goes_on(self):
        self.halotile("sweep", "sweep.yaml", "-o", "undisturbed.db")
        expected = self.points("undisturbed.db")
        self.assertEqual(len(expected), POINTS)
        draw = random.Random(3)
        kills, finished = 0, set()
        while kills < KILLS:
            name = f"killed{kills}.db"
            finished = set()
            while kills < KILLS:
                process = self.start("-o", name)
                try:
                    # Several moments of a point's ~0.03 s, and of opening the store.
                    process.communicate(timeout=draw.uniform(0, 0.15))
                    break  # it finished
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.communicate()
                    kills += 1
                if not (self.folder / name).exists() or not (self.folder / name).stat().st_size:
                    continue
                self.check(name)
                with self.store(name) as store:
                    if store.execute("PRAGMA application_id").fetchone() == (0,):
                        continue
                now = {row[0] for row in self.points(name)}
                self.assertLessEqual(finished, now, "what is finished stays")
                finished = now
            self.halotile("sweep", "sweep.yaml", "-o", name)
            self.check(name)
            self.assertEqual(self.points(name), expected)

    def test_two_at_once_share_the_points(self):
        both = [self.start() for _ in range(2)]
        outputs = [process.communicate(timeout=120) for process in both]
        self.assertEqual([process.returncode for process in both], [0, 0], outputs)
        self.check()
        self.assertEqual(len(self.points()), POINTS)
        self.assertEqual(len({row[0] for row in self.points()}), POINTS)
        with self.store() as store:
            self.assertEqual(store.execute("SELECT count(*) FROM sweep").fetchone(), (1,))
            self.assertEqual(store.execute("SELECT count(*) FROM claim").fetchone(), (0,))
        measured = [sum(b"equal bits" in line for line in output.splitlines()) for output, _ in outputs]
        self.assertEqual(sum(measured), POINTS, "nothing is measured twice")

    def test_ctrl_c(self):
        process = self.start("measure.min_runs=100000", "measure.max_seconds=1", "measure.tightness=0.0001")
        self.wait_until(lambda: (self.results / "sweep.db").exists() and self.count() >= 2, process)
        process.send_signal(signal.SIGINT)
        output, message = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 130, message)
        self.assertRegex(
            message.decode(),
            r"^halotile: interrupted; \d+ of 12 points are in results/sweep.db; "
            r"the same command goes on from there\n$",
        )
        self.check()
        before = self.points()
        self.assertIn(f"{len(before)} of 12 points", message.decode())
        resumed = self.json_of("sweep", "sweep.yaml")
        self.assertEqual(resumed["measured"], POINTS - len(before))
        self.assertEqual(resumed["points"], POINTS)
        self.assertLessEqual(set(before), set(self.points()))

    def count(self):
        try:
            return len(self.points())
        except sqlite3.OperationalError:  # its tables are being made
            return 0

    def test_a_full_disk_is_one_clear_error(self):
        self.halotile("sweep", "sweep.yaml", "streams=1")
        before = self.points()
        limit = (self.results / "sweep.db").stat().st_size + 20_000

        def full_soon():
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        process = self.start("streams=range(2, 60)", preexec_fn=full_soon)
        _, message = process.communicate(timeout=120)
        self.assertEqual(process.returncode, 2)
        self.assertEqual(
            message.decode(),
            "halotile: results/sweep.db cannot be written: the disk is full or fails; "
            "free some space and start again, what is finished is kept\n",
        )
        self.check()
        self.assertLessEqual(set(before), set(self.points()))
        self.halotile("sweep", "sweep.yaml")
        self.assertLessEqual(set(before), set(self.points()))

    def test_a_full_file_system(self):
        mount = self.folder / "small"
        mount.mkdir()
        mounted = (
            subprocess.run(
                ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", mount], capture_output=True, check=False
            ).returncode
            == 0
            if os.geteuid() == 0
            else False
        )
        if not mounted:
            self.skipTest("a small file system cannot be mounted here")
        self.addCleanup(subprocess.run, ["umount", mount], check=False)
        message = self.halotile(
            "sweep", "sweep.yaml", "-o", "small/s.db", "streams=range(1, 60)", status=2
        ).stderr.decode()
        self.assertRegex(message, "^halotile: small/s.db cannot be [a-z]+: .*disk.*\n$")
        self.check("small/s.db")
        self.assertGreater(len(self.points("small/s.db")), 0)

    def test_a_folder_that_cannot_be_written(self):
        closed = self.folder / "closed"
        closed.mkdir()
        self.folder.chmod(0o755)
        closed.chmod(0o555)
        how = {"user": 65534} if os.geteuid() == 0 else {}
        process = self.start("-o", "closed/s.db", **how)
        output, message = process.communicate(timeout=60)
        closed.chmod(0o755)
        self.assertEqual(process.returncode, 2)
        self.assertEqual(output, b"")
        self.assertRegex(message.decode(), "^halotile: closed/s.db cannot be opened: .* choose another\n$")
        self.assertEqual(list(closed.iterdir()), [])

    def test_what_is_no_store(self):
        self.write("notes.db", "my notes\n" * 100)
        self.refused("sweep", "sweep.yaml", "-o", "notes.db", saying="is no store of halotile")
        self.refused("export", "none.db", saying="there is no such store")

    def test_bad_axes(self):
        self.refused("sweep", "config.yaml", saying="there is nothing to sweep")
        self.refused(
            "sweep",
            "sweep.yaml",
            "patch.size=8,x",
            "streams=0,1",
            lines=2,
            saying=["'patch.size=x': patch.size: is 'x'", "'streams=0': streams: is '0'", "and 1 more"],
        )
        self.refused("sweep", "sweep.yaml", "patch.siz=8,9", lines=2, saying="did you mean 'size'?")
        self.refused("run", "sweep.yaml", "sweep.patch.size=[x]", saying="patch.size")

    def test_other_commands_ignore_the_axes(self):
        self.assertEqual(self.json_of("run", "sweep.yaml")["provenance"]["config"]["streams"], 1)
        self.assertTrue(self.json_of("verify", "sweep.yaml")["equal_bits"])

    def test_dry_run(self):
        text = self.halotile("sweep", "sweep.yaml", "--dry-run").stdout.decode()
        self.assertIn("12 points, 0 of them in results/sweep.db; at most about ", text)
        self.assertIn("  patch.size=8 streams=4\n", text)
        self.assertFalse(self.results.exists())
        self.halotile("sweep", "sweep.yaml", "streams=1")
        planned = self.json_of("sweep", "sweep.yaml", "--dry-run")
        self.assertEqual(planned["finished"], 3)
        self.assertEqual(sum(point["finished"] for point in planned["points"]), 3)
        self.assertEqual(len(self.points()), 3)

    def test_failed_points(self):
        words = ("sweep", "sweep.yaml", "dispatch=streams,graph", "streams=1", "patch.size=8,whole")
        result = self.json_of(*words, status=2)
        self.assertEqual((result["ok"], result["errors"], result["points"]), (2, 2, 4))
        self.assertEqual({point["status"] for point in result["failed"]}, {"error"})
        self.assertEqual(self.json_of(*words, status=2)["measured"], 0, "failures are finished, too")
        text = self.halotile(*words, status=2).stdout.decode()
        self.assertIn("dispatch: graph: is for CUDA devices", text)
        stopped = self.json_of(*words, "weights.random=9", "--fail-fast", status=2)
        self.assertEqual((stopped["errors"], stopped["complete"]), (1, False))

    def test_writes_its_report(self):
        words = ("sweep", "sweep.yaml", "streams=1,2", "patch.size=8,whole", "-o", "s.db")
        failure = self.halotile(*words, "--report", "nowhere/r.html", status=2).stderr.decode()
        self.assertIn("nowhere", failure)
        self.assertEqual(self.points("s.db"), [], "what cannot be written is told before anything is measured")
        text = self.halotile(*words, "--report", "r.html").stdout.decode()
        self.assertIn("report: r.html", text)
        self.assertIn("traceEvents", (self.folder / "r.trace.json").read_text())
        data = re.search(r'id="data">(.*?)</script>', (self.folder / "r.html").read_text(), re.S)[1]
        self.assertEqual(len(json.loads(data)["points"]), 4)
        self.assertTrue(json.loads(data)["timeline"], "of the fastest patched point")
        again = self.json_of(*words, "--report", "r.html")
        self.assertEqual((again["measured"], again["report"]["points"]), (0, 4))

    def test_writes_no_report_unasked(self):
        self.halotile("sweep", "sweep.yaml", "streams=1", "patch.size=8,whole", "-o", "s.db")
        self.assertEqual(self.files(), ["config.yaml", "model.yaml", "s.db", "sweep.yaml"])

    def test_replaces_nothing_that_it_reads(self):
        self.halotile("sweep", "sweep.yaml", "streams=1", "patch.size=8,whole", "-o", "s.db")
        (self.folder / "link.db").symlink_to("s.db")
        self.write("folder/notes", "")
        (self.folder / "r.trace.json").symlink_to("model.yaml")
        kept = {name: (self.folder / name).read_bytes() for name in self.files()}
        for command in (("export", "s.db", "-o"), ("report", "s.db", "-o")):
            for output, what in (
                ("s.db", "the store"),
                ("folder/../s.db", "the store"),
                ("link.db", "the store"),
                ("s.db-wal", "a part of the store"),
                ("s.db-shm", "a part of the store"),
            ):
                with self.subTest(command=command, output=output):
                    self.refused(
                        *command,
                        output,
                        saying=f"--output: {output} is {what}, which would be lost; choose another name",
                    )
        self.refused("export", "link.db", "-o", "s.db-wal", saying="a part of the store")
        sweep = ("sweep", "sweep.yaml", "-o")
        for store, output, what in (
            ("s.db", "s.db", "the store"),
            ("new.db", "./new.db", "the store"),
            ("s.db", "sweep.yaml", "the config"),
            ("new.db", "new.db-wal", "a part of the store"),
            ("s.db", "model.yaml", "the model"),
            ("s.db", "r.html", "the model"),
        ):  # its trace is a link there
            with self.subTest(store=store, output=output):
                self.refused(
                    *sweep, store, "--report", output, saying=["--report: ", f" is {what}, which would be lost"]
                )
        self.assertEqual({name: (self.folder / name).read_bytes() for name in self.files()}, kept)

    def test_exports(self):
        self.halotile("sweep", "sweep.yaml", "streams=1,2")
        self.halotile("export", "results/sweep.db", "-o", "points.csv")
        rows = list(csv.DictReader(io.StringIO((self.folder / "points.csv").read_bytes().decode())))
        self.assertEqual(len(rows), 6)
        self.assertEqual({row["patch.size"] for row in rows}, {"8", "12", "whole"})
        lines = self.halotile("export", "results/sweep.db", "--format", "jsonl").stdout.decode().splitlines()
        points = [json.loads(line) for line in lines]
        for row, point in zip(rows, points, strict=True):
            self.assertEqual(float(row["median_ms"]), point["median_ms"])
            self.assertEqual(json.loads(row["samples_ms"]), point["samples_ms"])
            self.assertGreaterEqual(len(point["samples_ms"]), 1)
            self.assertLessEqual(point["low_ms"], point["median_ms"])
            self.assertLessEqual(point["q1_ms"], point["q3_ms"])
            self.assertIn(point["stop"], ("tight", "time"))
            self.assertIn("git_commit", point["provenance"])
        self.halotile("export", "results/sweep.db", "--format", "xml", status=2)

    def on_terminal(self, **environment):
        """What a person sees, standard output and error on one terminal."""
        master, slave = pty.openpty()
        process = subprocess.Popen(
            [PROGRAM, "sweep", "sweep.yaml", "dispatch=streams,graph", "streams=1"],
            cwd=self.folder,
            stdout=slave,
            stderr=slave,
            env={**os.environ, "TERM": "xterm", **environment},
        )
        os.close(slave)
        seen = b""
        while True:
            try:
                part = os.read(master, 65536)
            except OSError:
                break
            if not part:
                break
            seen += part
        process.wait(timeout=60)
        os.close(master)
        return seen.decode()

    def test_a_terminal_shows_progress_and_colour_unless_told_not_to(self):
        seen = self.on_terminal()
        self.assertRegex(seen, r"\r\x1b\[K\d/6 points, .* left")
        self.assertIn("\x1b[31mERROR", seen)
        self.assertNotRegex(self.on_terminal(NO_COLOR="1"), r"\x1b\[\d*m")
        plain = self.halotile("sweep", "sweep.yaml", "dispatch=streams,graph", "streams=1", status=2).stdout
        self.assertNotIn(b"\x1b", plain)

    def test_the_reference_gauges_drift(self):
        self.halotile("sweep", "sweep.yaml")
        with self.store() as store:
            sequences = [row[0] for row in store.execute("SELECT sequence FROM drift ORDER BY rowid")]
            self.assertEqual(sequences, [0, 9, 12])
            ceiling = store.execute("SELECT device, precision, flops_per_second > 1e9 FROM ceiling").fetchall()
            self.assertEqual(ceiling, [("cpu", "fp32", 1)])


if __name__ == "__main__":
    main()
