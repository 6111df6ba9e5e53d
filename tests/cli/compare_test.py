"""halotile compare from outside: verdicts, exit status, and words for what cannot be compared."""

import json
import random

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
            (("a",), "B is required"),
        ):
            error = self.halotile("compare", *words, status=2).stderr.decode()
            self.assertIn(why, error)
            self.assertEqual(error.count("\n"), 1, error)


if __name__ == "__main__":
    main()
