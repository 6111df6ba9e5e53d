"""halotile report: the file it writes, what it says, what it refuses. report_page_test.py looks at it in a browser."""

import json
import os
import pathlib
import re
import sqlite3
import subprocess

import support

SYNTHETIC_STORE = pathlib.Path(os.environ["HALOTILE_SYNTHETIC_STORE"]).resolve()


def make_store(path, size):
    subprocess.run([SYNTHETIC_STORE, path, size], check=True, timeout=120)
    return path


def data_of(page):
    """The data block of a report."""
    text = page.read_text(encoding="utf-8")
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)[1])


class Report(support.Case):
    def setUp(self):
        super().setUp()
        self.store = make_store(self.folder / "sweep.db", "small")

    def test_says_where_the_file_is_and_what_is_in_it(self):
        text = self.halotile("report", "sweep.db", "-o", "report.html").stdout.decode()
        self.assertIn("report: report.html (60 points", text)
        self.assertIn("The fastest setting is ", text)
        result = self.json_of("report", "sweep.db", "-o", "report.html")
        self.assertEqual((result["file"], result["points"], result["failed"]), ("report.html", 60, 2))
        for statement in result["groups"][0]["summary"].values():
            self.assertIn(statement, text)

    def test_names_the_fastest_point_of_the_store(self):
        result = self.json_of("report", "sweep.db", "-o", "report.html")
        data = data_of(self.folder / "report.html")
        medians = {}
        with sqlite3.connect(self.store) as database:
            names = [row[1] for row in database.execute("PRAGMA table_info(point)")]
            for row in database.execute("SELECT * FROM point"):
                point = dict(zip(names, row))
                if point["status"] == "ok":
                    medians[point["config_hash"]] = point["median_ms"]
        best = data["points"][data["groups"][0]["best"]]
        self.assertEqual(best["hash"], min(medians, key=medians.get))
        self.assertIn(f"{best['median']:.4g}"[:3], result["groups"][0]["summary"]["best"])
        for point in data["points"]:
            if point["status"] == "ok":
                self.assertAlmostEqual(point["median"] / medians[point["hash"]], 1, delta=1e-4)

    def test_strings_cannot_leave_the_data(self):
        self.halotile("report", "sweep.db", "-o", "report.html")
        text = (self.folder / "report.html").read_text(encoding="utf-8")
        messages = [p["message"] for p in data_of(self.folder / "report.html")["points"]]
        self.assertTrue(any("</script><b>" in m for m in messages), "the store holds such a message")
        self.assertNotIn("</script><b>", text)
        self.assertEqual(text.count("</script>"), 3)  # data, library, page

    def test_is_alone(self):
        self.halotile("report", "sweep.db", "-o", "report.html")
        text = (self.folder / "report.html").read_text(encoding="utf-8")
        self.assertIn("default-src 'none'", text)
        for target in re.findall(r'(?:src|href)="([^"]*)"', text[: text.index('id="data"')]):
            self.assertTrue(target.startswith(("data:", "#")), target)
        self.assertEqual([f for f in self.files() if f.endswith((".part", ".tmp"))], [])

    def test_draws_the_tiles_that_the_plan_has(self):
        self.halotile("report", "sweep.db", "-o", "report.html")
        data = data_of(self.folder / "report.html")
        picture = data["picture"]
        self.assertTrue(picture["image"].startswith("data:image/png;base64,"), picture["note"])
        point = data["points"][picture["point"]]
        values = {a["key"]: a["values"][place] for a, place in zip(data["axes"], point["at"])}
        plan = self.json_of(
            "plan",
            str(support.SOURCE / "configs" / "alexnet.yaml"),
            f"patch.size={values['patch.size']}",
            f"patch.stages={values['patch.stages']}",
        )
        self.assertEqual(len(picture["stages"]), len(plan["stages"]))
        for drawn, planned in zip(picture["stages"], plan["stages"]):
            self.assertEqual([len(drawn["rows"]), len(drawn["columns"])], planned["grid"])
            for tile in planned["tiles"]:
                row, column = drawn["rows"][tile["key"]["row"]], drawn["columns"][tile["key"]["column"]]
                needs = tile["layers"][0]["needs"]
                self.assertEqual([row[:2], column[:2]], [needs["rows"], needs["cols"]])
                self.assertEqual(row[2] - row[0], tile["halo"]["top"])
                self.assertEqual(column[1] - column[3], tile["halo"]["right"])

    def test_a_trace_becomes_a_timeline(self):
        self.halotile("run", "config.yaml", "measure.trace=trace.json")
        self.halotile("report", "sweep.db", "-o", "report.html", "--trace", "results/trace.json")
        timeline = data_of(self.folder / "report.html")["timeline"]
        trace = json.loads((self.results / "trace.json").read_text())["traceEvents"]
        slices = [e for e in trace if e["ph"] == "X" and e["pid"] == 2 and e["cat"] not in ("step", "reassembly")]
        self.assertEqual(len(timeline["slices"]), len(slices))
        self.assertEqual(timeline["tracks"], ["stream 0", "stream 1"])
        tiles = {tuple(s[4:]) for s in timeline["slices"] if s[4] == 0}
        self.assertEqual(tiles, {(0, row, column) for row in range(3) for column in range(2)})

    def test_is_called_report_html_unless_told_otherwise(self):
        self.assertIn("=report.html", self.halotile("report", "--help").stdout.decode())
        self.assertEqual(self.json_of("report", "sweep.db")["file"], "report.html")
        self.assertIn("report.html", self.files())

    def test_replaces_a_report_whole(self):
        self.write("report.html", "before")
        self.halotile("report", "sweep.db", "-o", "report.html")
        self.assertGreater((self.folder / "report.html").stat().st_size, 50000)

    def test_refuses_what_it_cannot_read_or_write(self):
        make_store(self.folder / "empty.db", "empty")
        self.write("folder/keep", "")
        self.write("text.db", "no store at all, but text that is long enough to be taken for one")
        self.write("no_trace.json", '{"traceEvents": 3}')
        self.write("cut.json", '{"traceEvents": [')
        self.refused("report", "missing.db", saying="missing.db")
        self.refused("report", "empty.db", saying=["no points yet", "halotile sweep"])
        self.refused("report", "text.db", saying="text.db")
        self.refused("report", "sweep.db", "-o", "nowhere/report.html", saying="nowhere")
        self.refused("report", "sweep.db", "-o", "folder", saying="folder")
        self.refused("report", "sweep.db", "--trace", "missing.json", saying="missing.json")
        self.refused("report", "sweep.db", "--trace", "no_trace.json", saying=["no_trace.json", "measure.trace"])
        self.refused("report", "sweep.db", "--trace", "cut.json", saying="cut.json")
        self.refused("report", saying="STORE")

    def test_does_not_replace_its_trace(self):
        self.write("trace.json", '{"traceEvents": []}')
        self.refused(
            "report",
            "sweep.db",
            "--trace",
            "trace.json",
            "-o",
            "./trace.json",
            saying="--output: ./trace.json is the trace",
        )
        self.assertEqual((self.folder / "trace.json").read_text(), '{"traceEvents": []}')


if __name__ == "__main__":
    support.main()
