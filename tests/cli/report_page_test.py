"""The report's page in headless Chromium: charts drawn, nothing fetched, no console error, keyboard, exports, dark
mode, accessibility, and 1,000 points in under two seconds. Skips (status 77) without Chromium or without the chart
library.

HALOTILE_SCREENSHOTS names a folder for screenshots. The package in python/ must be found: PYTHONPATH=python."""

import json
import os
import pathlib
import re
import shutil
import sys
import tempfile
import time
import unittest
import xml.etree.ElementTree

import support
from report_test import data_of, make_store

from halotile_tools import browser

CHARTS = ["heat", "by-streams", "components", "memory", "trade-off", "roofline", "samples", "timeline", "drift"]
SECONDS_TO_LOAD = 2.0
SCREENSHOTS = pathlib.Path(os.environ.get("HALOTILE_SCREENSHOTS", tempfile.gettempdir()))

# Text and its ground, wherever an element has text of its own: the smallest ratio of WCAG 2 and where it is.
CONTRAST = """(() => {
  const channels = (c) => c.match(/[\\d.]+/g).map(Number);
  const linear = (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const luminance = ([r, g, b]) => [r, g, b].map((v) => linear(v / 255))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (e) => {
    for (; e; e = e.parentElement) {
      const c = channels(getComputedStyle(e).backgroundColor);
      if (c.length < 4 || c[3] > 0) return c;
    }
    return [255, 255, 255];
  };
  let least = [99, ""];
  for (const e of document.querySelectorAll("body *")) {
    if (e.closest("svg, script, .skip, [hidden], details:not([open]) > :not(summary)")) continue;
    if (!e.getClientRects().length) continue;
    if (![...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim())) continue;
    const [a, b] = [luminance(channels(getComputedStyle(e).color)), luminance(ground(e))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < least[0]) least = [ratio, `${e.tagName} ${e.className} ${e.textContent.slice(0, 40)}`];
  }
  return least;
})()"""


def skip_reason(folder):
    if browser.find_chromium() is None:
        return "no Chromium here; ./setup.sh --tests installs it"
    make_store(folder / "small.db", "small")
    case = support.subprocess.run(
        [support.PROGRAM, "report", "small.db", "-o", "small.html", "--json"],
        cwd=folder,
        stdout=support.subprocess.PIPE,
        check=True,
    )
    return None if json.loads(case.stdout)["charts"] else "the build has no chart library; ./setup.sh fetches it"


class Page(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = FOLDER
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)

        def run(*words):
            command = [support.PROGRAM, *words]
            devnull = support.subprocess.DEVNULL
            support.subprocess.run(command, cwd=cls.folder, check=True, stdout=devnull, timeout=120)

        (cls.folder / "model.yaml").write_text(support.MODEL)
        (cls.folder / "config.yaml").write_text(support.CONFIG)
        run("run", "config.yaml", "measure.trace=trace.json")
        run("report", "small.db", "-o", "small.html", "--trace", "results/trace.json")
        make_store(cls.folder / "large.db", "large")
        run("report", "large.db", "-o", "large.html")
        cls.small, cls.large = cls.folder / "small.html", cls.folder / "large.html"
        cls.downloads = cls.folder / "downloads"
        cls.downloads.mkdir()
        cls.page = browser.Browser()
        cls.page.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(cls.downloads))

    @classmethod
    def tearDownClass(cls):
        cls.page.close()

    def setUp(self):
        self.page.resize(1280, 900)
        self.page.media(prefers_color_scheme="light", prefers_reduced_motion="reduce")

    def open(self, path):
        seconds = self.page.open(path)
        self.addCleanup(lambda: self.assertEqual(self.page.problems(), [], "the console is clean"))
        return seconds

    def scroll_through(self):
        """Charts are drawn when they come near."""
        height = self.page.js("document.documentElement.scrollHeight")
        for top in range(0, height, 600):
            self.page.js(f"scrollTo({{top: {top}, behavior: 'instant'}})")
            self.page.js("new Promise((done) => requestAnimationFrame(() => setTimeout(done, 30)))")
        self.page.js("scrollTo({top: 0, behavior: 'instant'})")

    def marks(self, chart):
        return self.page.js(f"document.querySelectorAll('#canvas-{chart} svg path, #canvas-{chart} svg circle').length")

    def shot(self, name, element=None):
        clip = None
        if element:
            clip = self.page.js(
                f"(() => {{ const r = document.querySelector({json.dumps(element)}).getBoundingClientRect();"
                " return {x: r.x + scrollX, y: r.y + scrollY, width: r.width, height: r.height}; })()"
            )
        self.page.screenshot(SCREENSHOTS / f"{name}.png", whole=True, clip=clip)

    def rows(self):
        """Texts of the table's rows."""
        return self.page.js(
            "[...document.querySelectorAll('#points tbody tr')].map((r) => [...r.children].map((c) => c.textContent))"
        )

    def heads(self):
        return self.page.js("[...document.querySelectorAll('#points thead th')].map((h) => h.textContent)")

    def press_on(self, selector, key):
        self.page.js(f"document.querySelector({json.dumps(selector)}).focus()")
        self.page.key(key)

    def test_every_chart_is_drawn_and_nothing_is_fetched(self):
        self.open(self.small)
        self.scroll_through()
        for chart in CHARTS:
            self.assertGreater(self.marks(chart), 10, chart)
            self.assertGreater(
                len(self.page.js(f"document.getElementById('canvas-{chart}').getAttribute('aria-label')")), 40, chart
            )
        self.assertIn(
            "All points have the same batch", self.page.js("document.querySelector('#by-batch .note').textContent")
        )
        self.assertGreater(self.page.js("document.querySelectorAll('#tiles-panel svg image').length"), 0)
        self.assertEqual(self.page.requests(), [self.small.resolve().as_uri()])
        self.shot("report")

    def test_the_heat_map_has_a_cell_for_every_setting(self):
        self.open(self.small)
        data = data_of(self.small)
        stages = next(i for i, a in enumerate(data["axes"]) if a["key"] == "patch.stages")
        chosen = self.page.js("document.querySelector('#slice select').value")
        cells = [p for p in data["points"] if p["at"][stages] == int(chosen)]
        texts = self.page.js("[...document.querySelectorAll('#canvas-heat svg text')].map((t) => t.textContent)")
        ratios = [t for t in texts if re.fullmatch(r"(\u2605 )?[\d.]+\u00d7", t)]
        self.assertEqual(len(ratios), sum(p["status"] == "ok" for p in cells))
        self.assertEqual(sum("\u2715" in t or "\u2260" in t for t in texts), sum(p["status"] != "ok" for p in cells))

    def test_another_slice_changes_the_page(self):
        self.open(self.large)
        before = self.page.js(
            "[document.getElementById('canvas-heat').getAttribute('aria-label'),"
            " document.querySelector('.statements').textContent]"
        )
        # A keyboard's way through a list of choices.
        self.page.js("document.querySelector('#slice select[data-axis=\"precision\"]').focus()")
        value = self.page.js("document.activeElement.value")
        self.page.key("ArrowDown" if value == "0" else "ArrowUp")
        self.page.wait(f"document.querySelector('#slice select[data-axis=\"precision\"]').value !== '{value}'")
        self.page.wait(f"document.getElementById('canvas-heat').getAttribute('aria-label') !== {json.dumps(before[0])}")
        self.assertNotEqual(self.page.js("document.querySelector('.statements').textContent"), before[1])
        self.assertEqual(self.page.js("document.activeElement.dataset.axis"), "precision", "the focus stays")

    def test_sorting_by_keyboard(self):
        self.open(self.small)
        heads = self.heads()
        column = heads.index("images/s")
        button = f"#points thead th:nth-child({column + 1}) button"
        self.press_on(button, "Enter")
        self.assertEqual(
            self.page.js(f"document.querySelector({json.dumps(button)}).parentElement.getAttribute('aria-sort')"),
            "ascending",
        )
        self.assertEqual(self.page.js("document.querySelectorAll('#points th[aria-sort]').length"), 1)
        values = [float(r[column].replace(",", "")) for r in self.rows() if r[column]]
        self.assertEqual(len(values), 58)
        self.assertEqual(values, sorted(values))
        self.press_on(button, " ")
        values = [float(r[column].replace(",", "")) for r in self.rows() if r[column]]
        self.assertEqual(values, sorted(values, reverse=True))
        self.assertEqual([r[column] for r in self.rows()[-2:]], ["", ""], "points without a value come last")
        # Patches sort as numbers, whole last.
        self.press_on("#points thead th:nth-child(1) button", "Enter")
        patches = [r[0] for r in self.rows()]
        self.assertEqual(list(dict.fromkeys(patches)), ["16 px", "32 px", "48 px", "64 px", "128 px", "whole"])

    def test_filtering_by_keyboard(self):
        self.open(self.small)
        self.page.js("document.querySelector('.filters input').focus()")
        self.page.type("fused 64 px")
        rows = self.rows()
        self.assertEqual(len(rows), 5)
        self.assertTrue(all(r[0] == "64 px" and "fused" in r for r in rows))
        self.assertEqual(self.page.js("document.querySelector('.count').textContent"), "5 of 60 points")
        for _ in range(3):  # from the words over stages and patch to streams
            self.page.key("Tab")
        self.page.key("ArrowDown")
        self.page.wait("document.querySelectorAll('#points tbody tr').length === 1")
        self.page.js("document.querySelector('.filters input').select()")
        self.page.type("error")
        self.assertLessEqual(len(self.rows()), 2)

    def test_a_row_shows_its_point(self):
        self.open(self.small)
        self.press_on("#points tbody tr:nth-child(5) button", "Enter")
        wanted = self.page.js(
            "document.querySelector('#points tbody tr:nth-child(5) button').getAttribute('aria-label')"
        )
        title = self.page.js("document.getElementById('point-title').textContent")
        self.assertEqual(wanted, f"Show {title} in detail")
        self.assertEqual(self.page.js("document.activeElement.id"), "point")
        self.assertEqual(self.page.js("[...document.querySelectorAll('#points tr[aria-current]')].length"), 1)
        self.assertGreater(self.page.js("document.querySelectorAll('.findings li').length"), 0)
        self.scroll_through()
        self.assertIn(title, self.page.js("document.getElementById('canvas-roofline').getAttribute('aria-label')"))

    def test_a_click_in_the_heat_map_shows_its_point(self):
        self.open(self.small)
        box = self.page.js(
            "(() => { const r = document.getElementById('canvas-heat').getBoundingClientRect();"
            " scrollBy(0, r.top - 200); const s = document.getElementById('canvas-heat').getBoundingClientRect();"
            " return [s.x, s.y, s.width, s.height]; })()"
        )
        x, y = box[0] + box[2] - 50, box[1] + box[3] - 120  # most streams, smallest patch
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.page.call(
                "Input.dispatchMouseEvent",
                type=kind,
                x=x,
                y=y,
                button="none" if kind == "mouseMoved" else "left",
                clickCount=1,
            )
        self.assertIn("patch 16 px, 8 streams", self.page.js("document.getElementById('point-title').textContent"))

    def test_tiles_by_keyboard(self):
        self.open(self.small)
        text = "document.querySelector('#tiles-panel [aria-live]').textContent"
        before = self.page.js(text)
        self.press_on("#tiles-panel .tiles svg[tabindex]", "ArrowRight")
        self.page.key("ArrowDown")
        self.assertNotEqual(self.page.js(text), before)
        stages = self.page.js("document.querySelector('#tiles-panel select').options.length")
        self.assertEqual(stages, len(data_of(self.small)["picture"]["stages"]))

    def saved(self, button, name):
        """The file that a button saves. The browser now and then loses a download that the page has begun: it is asked
        again."""
        path = self.downloads / name
        for _ in range(3):
            self.page.js("document.getElementById('live').textContent = ''")
            self.press_on(button, "Enter")
            self.page.wait(f"document.getElementById('live').textContent === '{path.suffix[1:].upper()} saved'")
            deadline = time.monotonic() + 10
            while time.monotonic() < deadline:
                if path.exists() and not path.with_name(name + ".crdownload").exists():
                    return path.read_bytes()
                time.sleep(0.05)
        self.fail(f"{name} was not saved; there are {os.listdir(self.downloads)}")

    def test_exports(self):
        self.open(self.small)
        self.scroll_through()
        for chart in [*CHARTS, "tiles"]:
            panel = "tiles-panel" if chart == "tiles" else chart
            svg = self.saved(f"#{panel} .tools button:nth-child(1)", f"alexnet_small-{chart}.svg")
            root = xml.etree.ElementTree.fromstring(svg)
            self.assertTrue(root.tag.endswith("svg"), chart)
            self.assertGreater(sum(1 for _ in root.iter()), 12, chart)
            if chart != "tiles":
                self.assertTrue(
                    re.search(rb'<rect width="800" height="\d+"[^>]*fill="#(fff|ffffff)"', svg),
                    f"{chart}: white ground",
                )
            png = self.saved(f"#{panel} .tools button:nth-child(2)", f"alexnet_small-{chart}.png")
            self.assertEqual(png[:8], b"\x89PNG\r\n\x1a\n", chart)
            self.assertGreater(int.from_bytes(png[16:20], "big"), 1500, f"{chart}: wide enough for paper")
            self.assertGreater(len(png), 8000, chart)
        self.page.js("document.querySelector('.filters input').focus()")
        self.page.type("fused")
        lines = self.saved("#csv", "alexnet_small-points.csv").decode().strip().split("\r\n")
        self.assertEqual(len(lines), 1 + 30)
        self.assertIn("patch.size", lines[0])

    def test_dark_mode_and_contrast(self):
        self.open(self.small)
        self.scroll_through()
        light = self.page.js("getComputedStyle(document.body).backgroundColor")
        ratio, where = self.page.js(CONTRAST)
        self.assertGreaterEqual(ratio, 4.5, where)
        self.press_on("#theme", "Enter")
        self.assertNotEqual(self.page.js("getComputedStyle(document.body).backgroundColor"), light)
        self.scroll_through()
        ratio, where = self.page.js(CONTRAST)
        self.assertGreaterEqual(ratio, 4.5, where)
        for chart in CHARTS:
            self.assertGreater(self.marks(chart), 10, chart)
            self.assertIn(
                "#a5adb8",
                self.page.js(f"document.getElementById('canvas-{chart}').innerHTML"),
                f"{chart}: drawn in the dark theme's colours",
            )
        self.shot("report-dark")
        self.page.media(prefers_color_scheme="dark")
        self.open(self.small)
        self.assertEqual(self.page.js("document.documentElement.dataset.theme"), "dark")

    def test_accessible_names_and_structure(self):
        self.open(self.small)
        self.scroll_through()
        nodes = self.page.call("Accessibility.getFullAXTree")["nodes"]

        def value(node, key):
            return node.get(key, {}).get("value", "")

        for node in nodes:
            role = value(node, "role")
            focusable = any(p["name"] == "focusable" and p["value"].get("value") for p in node.get("properties", []))
            if (
                not node.get("ignored")
                and (focusable or role in ("img", "region", "table", "search", "navigation"))
                and role not in ("RootWebArea", "main", "generic", "option", "MenuListPopup")
            ):
                self.assertNotEqual(value(node, "name"), "", f"{role}: {node}")
        roles = [value(n, "role") for n in nodes if not n.get("ignored")]
        for role in ("main", "banner", "navigation", "contentinfo", "search"):
            self.assertEqual(roles.count(role), 1, role)
        levels = self.page.js(
            "[...document.querySelectorAll('h1, h2, h3')].filter((h) => h.getClientRects().length)"
            ".map((h) => Number(h.tagName[1]))"
        )
        self.assertEqual(levels[0], 1)
        self.assertEqual(levels.count(1), 1)
        self.assertEqual(
            self.page.js(
                "(() => { const ids = [...document.querySelectorAll('[id]')].map((e) => e.id);"
                " return ids.filter((id, i) => ids.indexOf(id) !== i); })()"
            ),
            [],
        )
        # The first stop is the way past the head; from there on to the first choice.
        self.page.js("document.activeElement.blur()")
        self.page.key("Tab")
        self.assertEqual(self.page.js("document.activeElement.className"), "skip")
        self.page.key("Enter")
        self.page.key("Tab")
        self.assertEqual(self.page.js("document.activeElement.tagName"), "SELECT")
        # The same numbers as a table, for every chart.
        for chart in CHARTS:
            self.page.js(f"document.querySelector('#{chart} details').open = true")
            self.page.wait(f"document.querySelectorAll('#{chart} details tbody tr').length > 0")

    def test_narrow_pages_do_not_scroll_sideways(self):
        self.page.resize(390, 800, mobile=True)
        self.open(self.small)
        self.scroll_through()
        self.assertLessEqual(self.page.js("document.documentElement.scrollWidth"), 390)
        for chart in CHARTS:
            self.assertGreater(self.marks(chart), 10, chart)
        self.shot("report-narrow")

    def test_prints_with_all_charts(self):
        self.open(self.small)
        pdf = self.page.call("Page.printToPDF")["data"]
        self.assertGreater(len(pdf), 100000)
        for chart in CHARTS:
            self.assertGreater(self.marks(chart), 10, chart)

    def test_a_thousand_points_load_in_time(self):
        seconds = []
        for _ in range(5):  # the best one tells what the page costs, whatever else this machine does
            begin = time.monotonic()
            self.open(self.large)
            self.page.wait(
                "document.querySelectorAll('#points tbody tr').length >= 250"
                " && document.querySelectorAll('#canvas-heat svg path').length > 20"
            )
            seconds.append(time.monotonic() - begin)
            if seconds[-1] < SECONDS_TO_LOAD:
                break
        print(
            f"1,008 points: {', '.join(f'{s:.2f}' for s in seconds)} s until the table and the first chart are there",
            file=sys.stderr,
        )
        self.assertLess(min(seconds), SECONDS_TO_LOAD)
        sorting = """(() => {
            const begin = performance.now();
            document.querySelector('#points thead th:nth-child(2) button').click();
            document.body.offsetHeight;
            return (performance.now() - begin) / 1000;
        })()"""
        self.assertLess(min(self.page.js(sorting) for _ in range(5)), 1)
        self.page.js("document.querySelector('.filters input').focus()")
        self.page.type("fused 48")
        self.assertEqual(self.page.js("document.querySelector('.count').textContent"), "72 of 1,008 points")
        self.scroll_through()
        self.assertGreater(self.marks("by-batch"), 10)
        self.shot("report-large")

    def test_without_the_library_there_are_tables(self):
        text = self.small.read_text(encoding="utf-8")
        begin = text.index("<script>", text.index('id="data"')) + len("<script>")
        bare = self.folder / "bare.html"
        bare.write_text(text[:begin] + text[text.index("</script>", begin) :], encoding="utf-8")
        self.open(bare)
        self.scroll_through()
        self.assertIn("./setup.sh", self.page.js("document.querySelector('#heat .note').textContent"))
        for chart in CHARTS:
            self.assertGreater(self.page.js(f"document.querySelectorAll('#{chart} details tbody tr').length"), 0, chart)
        self.assertEqual(len(self.rows()), 60)

    def test_the_page_may_not_fetch(self):
        self.page.open(self.small)
        answer = self.page.js("fetch('http://127.0.0.1:9/').then(() => 'fetched', (e) => String(e))")
        self.assertIn("TypeError", answer)
        self.assertTrue(any("Content Security Policy" in p for p in self.page.problems()), self.page.problems())


if __name__ == "__main__":
    FOLDER = pathlib.Path(tempfile.mkdtemp(prefix="halotile-report-"))
    try:
        reason = skip_reason(FOLDER)
        if reason:
            print(f"skipped: {reason}")
            sys.exit(77)
        support.main()
    finally:
        shutil.rmtree(FOLDER, ignore_errors=True)
