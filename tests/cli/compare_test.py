"""halotile compare from outside: verdicts, exit status, and words for what cannot be compared."""

import contextlib
import json
import random
import sqlite3

from support import Case, main

QUICK = ("measure.warmup=0", "measure.min_runs=2")


class Compare(Case):
    def setUp(self):
        super().setUp()
        self.halotile("run", "config.yaml", *QUICK)
        self.run_json = json.loads((self.results / "config.run.json").read_text())
        self.random = random.Random(4)

    def rounds(self, folder, factor, count=6, **changes):
        """Results like the one at hand, with run times around factor x 10 ms."""
        for i in range(count):
            drift = factor * 10 * (1 + self.random.gauss(0, 0.004))
            samples = [drift * (1 + abs(self.random.gauss(0, 0.01))) for _ in range(15)]
            self.write(f"{folder}/round{i}.run.json", json.dumps({**self.run_json, "samples_ms": samples, **changes}))
        return folder

    def test_equal_rounds_are_not_told_apart(self):
        found = self.json_of("compare", self.rounds("a", 1), self.rounds("b", 1))
        self.assertEqual(len(found["points"]), 1)
        self.assertIn(found["points"][0]["verdict"], ("SAME", "UNDECIDED"))
        self.assertEqual(found["points"][0]["rounds"], 6)
        self.assertFalse(found["worse"])

    def test_ten_percent_are_found_both_ways(self):
        self.rounds("a", 1)
        self.rounds("b", 1.1)
        slower = self.json_of("compare", "a", "b", status=1)
        self.assertEqual(slower["points"][0]["verdict"], "SLOWER")
        self.assertLess(slower["points"][0]["low"], 1.1)
        self.assertGreater(slower["points"][0]["high"], 1.1)
        self.assertEqual(self.json_of("compare", "b", "a")["points"][0]["verdict"], "FASTER")
        self.assertEqual(self.json_of("compare", "a", "b", "--threshold", "0.3")["points"][0]["verdict"], "SAME")
        self.assertEqual(self.halotile("compare", "-q", "a", "b", status=1).stdout, b"")
        text = self.halotile("compare", "a", "b", status=1).stdout.decode()
        self.assertIn("1 SLOWER, 0 FASTER, 0 SAME", text)

    def test_two_single_runs_are_compared_whatever_their_settings(self):
        self.halotile("run", "config.yaml", "streams=1", "output.directory=one", *QUICK)
        done = self.halotile("compare", "results/config.run.json", "one/config.run.json")
        self.assertIn(b"the settings differ: A ", done.stderr)
        self.assertIn(b"1 UNDECIDED", done.stdout, "two runs each cannot decide")

    def test_other_bits_are_worse(self):
        self.rounds("a", 1, logits_hash="1")
        self.rounds("b", 1, logits_hash="2")
        found = self.json_of("compare", "a", "b", status=1)
        self.assertIs(found["points"][0]["same_bits"], False)

    def test_what_cannot_be_compared(self):
        self.rounds("a", 1)
        self.write("empty/notes.txt", "")
        self.write("other/x.run.json", "{}")
        for words, why in (
            (("a", "none"), "none: there is no such file"),
            (("a", "empty"), "empty: this folder holds neither"),
            (("a", "other"), "x.run.json: is neither a store nor a whole result"),
            (("a", "a", "--store", "a"), "--store a: is no store"),
            (("a", "a", "--threshold", "2"), "--threshold"),
            (("a", "a", "--threshold", "nan"), "--threshold: is no number; write a share from 0 to 1"),
            (("a", "a", "--threshold", "inf"), "--threshold"),
            (("a",), "B is required"),
        ):
            error = self.halotile("compare", *words, status=2).stderr.decode()
            self.assertIn(why, error)
            self.assertEqual(error.count("\n"), 1, error)


SWEEP = """\
model: model.yaml
input: {random: 1, batch: 2}
device: cpu
engine: reference
threads: 1
measure: {warmup: 0, min_runs: 6, max_seconds: 0.05}
sweep:
  patch.size: [8, whole]
  streams: [1, 2]
"""


class Stores(Case):
    """What compare and explain make of stores that sweeps filled."""

    def setUp(self):
        super().setUp()
        self.write("sweep.yaml", SWEEP)
        self.halotile("sweep", "sweep.yaml", "-o", "a.db")

    def edited(self, name, statement, *values):
        """A copy of the store after an SQL statement on it."""
        with contextlib.closing(sqlite3.connect(self.folder / "a.db")) as store:
            with contextlib.closing(sqlite3.connect(self.folder / name)) as copy:
                store.backup(copy)
                copy.create_function("scaled", 2, lambda s, f: json.dumps([f * x for x in json.loads(s)]))
                copy.execute(statement, values)
                copy.commit()
        return name

    def test_a_store_equals_itself(self):
        found = self.json_of("compare", "a.db", "a.db")
        self.assertEqual(len(found["points"]), 4)
        for point in found["points"]:
            self.assertIn(point["verdict"], ("SAME", "UNDECIDED"))
            self.assertIs(point["same_bits"], True)

    def test_a_planted_slow_down_is_found_in_the_point_that_has_it(self):
        for i in range(5):
            for side, factor in (("before", 1), ("after", 1.1)):
                (self.folder / side).mkdir(exist_ok=True)
                # Each round stands on a level of its own.
                self.edited(
                    f"{side}/{i}.db",
                    "UPDATE point SET samples_ms = scaled(samples_ms, CASE sequence WHEN 1 THEN ? ELSE 1 END * ?)",
                    factor,
                    1 + 0.003 * ((3 * i + len(side)) % 5),
                )
        found = self.json_of("compare", "before", "after", status=1)
        self.assertEqual([p["verdict"] for p in found["points"]].count("SLOWER"), 1)
        self.assertEqual(found["count"]["FASTER"], 0)

    def test_failures_are_worse(self):
        self.edited("b.db", "UPDATE point SET status = 'different', message = 'conv1 differs' WHERE sequence = 2")
        found = self.json_of("compare", "a.db", "b.db", status=1)
        self.assertEqual(
            [p["reason"] for p in found["points"] if p["broken"]], ["B could not be measured: conv1 differs"]
        )

    def test_a_commit_in_the_store(self):
        commit = self.json_of("info")["git_commit"]
        found = self.json_of("compare", "--store", "a.db", commit[:8], commit[:8])
        self.assertEqual(len(found["points"]), 4)
        error = self.halotile("compare", "--store", "a.db", commit[:8], "0123456789", status=2).stderr
        self.assertIn(b"commit 0123456789: the store has no points of it", error)

    def test_explanations(self):
        found = self.json_of("explain", "a.db")
        self.assertEqual(len(found["points"]), 2)
        self.assertTrue(found["points"][0]["title"].startswith("fastest: patch.size=8"))
        one = self.json_of("explain", "a.db", "patch.size=8", "streams=2")["points"][0]
        self.assertEqual(one["settings"], {"patch.size": 8, "streams": 2})
        self.assertGreater(one["unpatched_ms"], 0)
        topics = [f["topic"] for f in one["findings"]]
        for topic in ("halos", "overlap", "launches", "arithmetic", "memory"):
            self.assertEqual(topics.count(topic), 1 if topic != "arithmetic" else 0, topics)  # threads are fixed
        costs = [f["cost"] for f in one["findings"]]
        self.assertEqual(costs, sorted(costs, reverse=True))
        for words, why in (
            (("streams=3",), "'streams=3': no point has it; streams is one of 1, 2"),
            (("stream=3",), "'stream=3': the points have no setting 'stream'"),
            (("streams.x=2",), "'streams.x=2': the points have no setting 'streams.x'"),
            (("engine.name=reference",), "the points have no setting 'engine.name'"),
            (("streams",), "'streams': is no setting"),
        ):
            self.assertIn(why, self.halotile("explain", "a.db", *words, status=2).stderr.decode())

    def test_what_is_no_store(self):
        self.write("notes.txt", "some words\n")
        self.write("bytes", bytes(range(256)))
        for name in ("notes.txt", "bytes"):
            for command in (("explain",), ("report",), ("export",)):
                self.refused(*command, name, saying=(name, "is no store of halotile"))
            self.refused("compare", name, "a.db", saying=(name, "neither a store"))
        self.refused("explain", "notes.txt", saying="nor a config that can be read")
        self.refused("explain", "nothing.db", saying="nothing.db: cannot be opened")

    def test_a_config_is_explained_beside_its_unpatched_run(self):
        # Runs so long that the layers' share is not lost in starting and waiting.
        long = ("engine=onednn", "threads=auto", "input.batch=64", "measure.warmup=2", "measure.min_runs=5")
        found = self.json_of("explain", "config.yaml", *long)["points"][0]
        self.assertGreater(found["unpatched_ms"], 0)
        topics = {f["topic"] for f in found["findings"]}
        # Which of the two bounds a layer is a matter of what was measured.
        self.assertTrue(topics & {"arithmetic", "bandwidth"}, topics)
        self.assertFalse(self.results.exists(), "nothing is kept")


if __name__ == "__main__":
    main()
