"""The study's scripts with a program that answers with made-up times."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from halotile_tools.common import ROOT
from halotile_tools.figures.study_data import GLOBAL_BYTES, conv_parts
from halotile_tools.figures.trace_summary import intersection, launched, summarize, union

FAKE = Path(__file__).resolve().with_name("fake_halotile.py")
STUDY = ROOT / "experiments" / "figures" / "study.py"
TEXT = "# Study\n<!-- table: machine -->\nold\n<!-- end of table -->\nSaid by hand.\n" + "".join(
    f"<!-- table: {name} -->\n<!-- end of table -->\n"
    for name in ("findings", "cpu_batch", "gpu_batch", "memory", "kernels", "sub_batches", "patches")
)


def study(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    # The fake program is to run in this interpreter.
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    given = ["--output", folder, "--pictures", folder, "--text", folder / "study.md", "--halotile", FAKE]
    return subprocess.run(
        [sys.executable, STUDY, *given, *words],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    (folder / "study.md").write_text(TEXT)
    done = study(folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_figure_is_measured_drawn_and_tabled(measured: Path) -> None:
    figures = json.loads((measured / "study.json").read_text())["figures"]
    assert list(figures) == ["cpu_batch", "gpu_batch", "memory", "kernels", "sub_batches", "patches"]
    assert sorted(p.name for p in measured.glob("*.png")) == sorted(f"study_{name}.png" for name in figures)
    text = (measured / "study.md").read_text()
    assert "Said by hand." in text
    assert "old" not in text
    assert "Not measured yet" not in text
    assert "| 32 | 32,000 | 1.6 | 3.2 | 20,000 | 10,000 |" in text
    assert "| per_layer | 256 |" in text
    assert "- 32 images take the naive pipeline 32 s" in text and "10,000 times as fast" in text
    assert "- 227 px: 9 of 12 ways of cutting are faster than whole" in text
    assert "Points left out: " in text and "dispatch" in text, "what the program refuses is said"


def test_kept_data_gives_the_same_text_again(measured: Path) -> None:
    before = (measured / "study.md").read_text()
    done = study(measured, "--from-kept")
    assert done.returncode == 0, done.stderr
    assert (measured / "study.md").read_text() == before


def test_one_figure_leaves_the_others(measured: Path, tmp_path: Path) -> None:
    (tmp_path / "study.md").write_text(TEXT)
    (tmp_path / "study.json").write_text((measured / "study.json").read_text())
    assert study(tmp_path, "--only", "memory", "--no-draw").returncode == 0
    assert len(json.loads((tmp_path / "study.json").read_text())["figures"]) == 6


def test_without_data_it_says_so(tmp_path: Path) -> None:
    done = study(tmp_path, "--from-kept")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and "study.json does not exist" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_intervals() -> None:
    assert union([(3, 4), (0, 1), (1, 2)]) == [(0, 2), (3, 4)]
    assert intersection([(0, 2), (3, 5)], [(1, 4)]) == [(1, 2), (3, 4)]


def test_trace_summary() -> None:
    kernel = {
        "grid": "66x1x1",
        "block": "1x1x1",
        "registers per thread": 9,
        "static shared bytes": 1,
        "dynamic shared bytes": 2,
    }
    events = [
        {"ph": "X", "cat": "copy", "name": "c", "ts": 0, "dur": 10, "args": {}},
        {"ph": "X", "cat": "kernel", "name": "conv2d_slice", "ts": 5, "dur": 10, "args": kernel},
        {"ph": "X", "cat": "kernel", "name": "conv2d_slice", "ts": 20, "dur": 10, "args": kernel},
        {"ph": "X", "cat": "call", "name": "cudaLaunchKernel", "ts": 1, "dur": 3, "args": {}},
    ]
    s = summarize({"traceEvents": events}, 132)
    assert s["span_ms"] == pytest.approx(0.030)
    assert s["busy_ms"] == pytest.approx(0.025)
    assert s["idle_share"] == pytest.approx(1 / 6)
    assert s["copy_hidden_share"] == pytest.approx(0.5)
    assert s["in_flight"] == pytest.approx(1.2)
    assert s["filled"] == pytest.approx(0.5)
    assert (s["kernels"], s["launches"], s["launch_us"]) == (2, 1, 3)
    (entry,) = launched({"traceEvents": events})
    assert (entry["family"], entry["count"], entry["registers"]) == ("conv", 2, 9)


def test_parts_of_convolutions_leave_other_layers_out() -> None:
    def line(name: str, kind: str, ms: float) -> dict[str, object]:
        return {"name": name, "kind": kind, "stream_ms": ms}

    lines = [line("conv1", "conv", 1), line("pool1", "max_pool", 2), line("conv2", "conv", 4)]
    lines += [line(name, "allocation", 8) for name in ("conv1", "pool1", "conv2")]
    lines += [line("upload", "host_to_device", 3), line("pool1", "device_to_host", 9)]
    assert list(conv_parts({"layers": lines}).values()) == [16, 3, 5, 0]


def test_global_bytes_of_the_fully_connected_layers() -> None:
    weights = 4 * (4096 * 9217 + 4096 * 4097 + 1000 * 4097)
    assert GLOBAL_BYTES["fully_connected"] == weights + 4 * 32 * (9216 + 4096 + 4096 + 4096 + 4096 + 1000)
