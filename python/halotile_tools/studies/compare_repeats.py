"""How often `halotile compare` errs on this machine, measured: equal builds, and a planted slow-down.

Each repeat measures every point in rounds, A and B by turns, with the same program and settings: any FASTER or SLOWER
is a false verdict. With --planted B passes over a tenth more images, which is a tenth more work: anything but SLOWER
is missed.

    .venv/bin/python experiments/compare_repeats.py build/halotile --repeats 20 --rounds 5
"""

import argparse
import collections
import json
import pathlib
import subprocess
import tempfile

from halotile_tools.common import CONFIGS, provenance, write_json

BATCH = 10
POINTS = {
    "whole": ("streams=1", "patch.size=whole"),
    "grid, 2 streams": ("streams=2", "patch.grid=[2, 2]"),
    "fused, packed": ("streams=1", "patch.grid=[2, 2]", "patch.stages=fused", "patch.storage=packed"),
}


def measure(program, side, name, round_number, batch, settings):
    words = [
        *(
            "device=cpu",
            "until=pool2",
            "input.random=1",
            "input.height=131",
            "input.width=131",
            f"input.batch={batch}",
            "measure.warmup=2",
        ),
        *("measure.min_runs=12", f"output.directory={side / 'run'}", *settings),
    ]
    subprocess.run([program, "run", CONFIGS / "alexnet.yaml", *words], check=True, capture_output=True)
    run = json.loads((side / "run/alexnet.run.json").read_text())
    run["provenance"]["config"]["input"]["batch"] = BATCH  # the planted work is not to be seen
    (side / f"{name}.{round_number:02}.run.json").write_text(json.dumps(run))


def repeat(program, rounds, batch_b):
    """The points of one comparison."""
    with tempfile.TemporaryDirectory() as folder:
        sides = ((pathlib.Path(folder) / "a", BATCH), (pathlib.Path(folder) / "b", batch_b))
        for r in range(rounds):
            for name, settings in POINTS.items():
                for side, batch in sides if r % 2 == 0 else reversed(sides):
                    measure(program, side, name, r, batch, settings)
        words = [program, "compare", *(side for side, _ in sides), "--json"]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        return json.loads(done.stdout)["points"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--planted", action="store_true", help="B does a tenth more work")
    parser.add_argument("--output", type=pathlib.Path, help="keep the points and provenance in this JSON file")
    options = parser.parse_args()
    program = options.program.resolve()
    kept = {
        "provenance": provenance(halotile=program),
        "rounds": options.rounds,
        "planted": options.planted,
        "repeats": [],
    }
    verdicts = collections.Counter()
    for i in range(options.repeats):
        points = repeat(program, options.rounds, BATCH + 1 if options.planted else BATCH)
        kept["repeats"].append([{key: p[key] for key in ("name", "ratio", "low", "high", "verdict")} for p in points])
        for p in points:
            verdicts[p["verdict"]] += 1
            print(
                f"{i:3}  {p['ratio']:.3f}  {p['low']:.3f} to {p['high']:.3f}  {p['verdict']:9}  {p['name']}", flush=True
            )
        if options.output:
            write_json(options.output, kept | {"verdicts": verdicts})
    print(", ".join(f"{count} {verdict}" for verdict, count in verdicts.most_common()))
