"""XLA's contestants, in a process of their own (xla_process.py): what goes wrong there ends nothing here."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np

from halotile_tools.common import median
from halotile_tools.peers.gpu_race import Contestant, Prepared, Timing, TooLong, plan_turn

MARK = "@@ "
PACKAGES = Path(__file__).resolve().parents[2]  # another Python has JAX, perhaps, but not this package


class XlaError(Exception):
    """XLA's process said why, or ended."""


class XlaProcess:
    """Starts the process when it is needed, and again after it ended or was too slow."""

    def __init__(self, folder: Path, python: str = sys.executable) -> None:
        self.folder = folder
        self.python = python
        self.process: subprocess.Popen[str] | None = None
        self.lines: queue.Queue[str | None] = queue.Queue()
        self.about: dict[str, Any] = {}
        self.starts = 0

    def start(self) -> None:
        if self.starts >= 3:
            raise XlaError("its process was lost three times")
        self.starts += 1
        self.lines = queue.Queue()
        with (self.folder / "xla.log").open("a", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                [self.python, "-m", "halotile_tools.peers.xla_process"],
                env={**os.environ, "PYTHONPATH": f"{PACKAGES}:{os.environ.get('PYTHONPATH', '')}".rstrip(":")},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        threading.Thread(target=self.listen, args=(self.process, self.lines), daemon=True).start()
        self.about = self.receive(90)

    @staticmethod
    def listen(process: subprocess.Popen[str], lines: queue.Queue[str | None]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(MARK):
                lines.put(line.removeprefix(MARK))
        lines.put(None)

    def receive(self, seconds: float) -> dict[str, Any]:
        try:
            line = self.lines.get(timeout=seconds)
        except queue.Empty:
            self.end()
            raise TooLong(f"XLA took longer than {seconds:.0f} s") from None
        except BaseException:  # interrupted while it works: its next answer would be taken for another's
            self.end()
            raise
        if line is None:
            self.end()
            log = (self.folder / "xla.log").read_text(encoding="utf-8").strip().splitlines()
            raise XlaError(f"its process ended: {log[-1] if log else 'no message'}")
        answer = json.loads(line)
        if "error" in answer:
            raise XlaError(answer["error"])
        return answer

    def ask(self, seconds: float, **request: Any) -> dict[str, Any]:
        if self.process is None:
            self.start()
        assert self.process is not None and self.process.stdin is not None
        try:
            print(json.dumps(request), file=self.process.stdin, flush=True)
        except OSError as error:
            self.end()
            raise XlaError(f"its process ended: {error}") from error
        return self.receive(seconds)

    def end(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


class XlaContestant(Contestant):
    """jax.jit of the network in NHWC on an input that lies on the device."""

    def __init__(self, xla: XlaProcess, precision: str, request: dict[str, Any], seconds: float) -> None:
        self.name, self.heat, self.precision = "XLA (jax.jit)", "peer", precision
        self.xla, self.seconds = xla, seconds
        self.request = {**request, "precision": precision, "weights_seed": 7, "input_seed": 1}

    def ask(self, do: str, **more: Any) -> dict[str, Any]:
        return self.xla.ask(self.seconds, do=do, name=self.name, **more)

    def prepare(self) -> Prepared:
        saved = self.xla.folder / "xla.npy"
        facts = self.ask("prepare", save=str(saved), **self.request)
        probe = self.ask("time", warmup=3, runs=10, max_seconds=0.3)["samples_ms"]
        return Prepared(np.load(saved), median(probe), facts)

    def turn(self) -> Timing:
        probe = median(self.ask("time", warmup=1, runs=3, max_seconds=0.1)["samples_ms"])
        warmup, runs = plan_turn(probe)
        return self.ask("time", warmup=warmup, runs=runs, max_seconds=1.0)

    def close(self) -> None:
        if self.xla.process is not None:
            self.ask("drop")
