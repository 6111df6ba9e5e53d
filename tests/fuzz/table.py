"""Prints a Markdown table of fuzz runs from the fuzzers' own output.

    python3 tests/fuzz/table.py build-fuzz/*.log

Logs of one target (<target>.log, or <target>.<anything>.log for a run in parts) are added up: seconds and executions
are sums, coverage and corpus those of the last part.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

DONE = re.compile(r"Done (\d+) runs in (\d+) second")
STATE = re.compile(r"cov: (\d+) ft: (\d+) corp: (\d+)/(\S+)")
FINDING = re.compile(r"==\d+==\s?ERROR: |SUMMARY: \w+Sanitizer")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("logs", nargs="+", type=Path, help="output of the fuzz targets")
    rows: dict[str, dict[str, object]] = {}
    for log in sorted(parser.parse_args().logs):
        text = log.read_text(encoding="utf-8", errors="replace")
        states = STATE.findall(text)
        done = DONE.search(text)
        row = rows.setdefault(log.name.split(".")[0], {"runs": 0, "seconds": 0, "findings": 0, "state": None})
        if done is None and not FINDING.search(text):
            print(f"{log}: unfinished, left out", file=sys.stderr)
            continue
        if done is not None:
            row["runs"] += int(done[1])
            row["seconds"] += int(done[2])
        row["findings"] += 1 if FINDING.search(text) else 0
        row["state"] = states[-1] if states else row["state"]
    print("| target | minutes | executions | edges covered | features | corpus | findings |")
    print("|---|---|---|---|---|---|---|")
    for target, row in sorted(rows.items()):
        edges, features, inputs, size = row["state"] or ("-", "-", "-", "-")
        findings = row["findings"] or "none"
        print(
            f"| `{target}` | {row['seconds'] / 60:.0f} | {row['runs']:,} | {edges} | {features} "
            f"| {inputs} inputs, {size} | {findings} |"
        )


if __name__ == "__main__":
    main()
