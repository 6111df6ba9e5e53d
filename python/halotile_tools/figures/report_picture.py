"""Takes a picture of the top of a report, in headless Chromium: docs/images/report.png.

python3 experiments/figures/report_picture.py experiments/results/cpu-2core-avx512/alexnet_cpu.html
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from halotile_tools.browser import Browser
from halotile_tools.common import ROOT

WIDTH = 1280
HEIGHT = 1640
SECONDS_TO_DRAW = 1.0  # charts that come into view are drawn then


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path)
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "images" / "report.png")
    options = parser.parse_args()
    browser = Browser()
    try:
        browser.resize(WIDTH, HEIGHT)
        browser.media(prefers_color_scheme="light")
        browser.open(options.report.resolve())
        time.sleep(SECONDS_TO_DRAW)
        browser.screenshot(options.output, clip={"x": 0, "y": 0, "width": WIDTH, "height": HEIGHT})
    finally:
        browser.close()
    print(f"written: {options.output}")
