"""Contestants of one work on a GPU: prepared, checked against a reference, chosen by a short probe, raced in rounds.

A contestant that does not run, takes too long or computes something else is kept with its error and stays out; the
others go on.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from halotile_tools.common import ExperimentError, median

Timing = dict[str, Any]  # samples_ms and what else is kept of one turn


class TooLong(Exception):
    """A contestant took longer than it was given."""


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raises TooLong in the block, once, after this time."""

    def ring(*_: object) -> None:
        raise TooLong(f"took longer than {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Budget:
    """The time that a run may take."""

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        return self.end - time.monotonic()


@dataclass
class Prepared:
    """What preparing a contestant gave: its outputs, a first time, and what else is worth keeping."""

    outputs: np.ndarray
    probe_ms: float
    facts: dict[str, Any] = field(default_factory=dict)


class Contestant:
    """One way of doing a work. The fastest of each heat, by the probe, race against each other."""

    name: str
    heat: str
    precision: str  # of the arithmetic: says how far outputs may be off
    instead_of: str = ""  # only prepared when the contestant of this name failed
    raced: bool = True  # False: the probe is all that is kept

    def prepare(self) -> Prepared:
        raise NotImplementedError

    def turn(self) -> Timing:
        raise NotImplementedError

    def close(self) -> None:
        """Gives back what prepare() took; called also when that failed."""


@dataclass
class Reference:
    """What outputs are compared with; the float64 outputs are those of the first images only, or missing."""

    plain: np.ndarray  # fp32 without TF32
    exact: np.ndarray | None = None
    tolerance: dict[str, float] = field(
        default_factory=lambda: {"fp32": 1e-5, "tf32": 2e-3, "fp16": 5e-3, "bf16": 3e-2}
    )


def relative_difference(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference as a share of the largest expected value; NaN for NaN."""
    if found.size != expected.size:
        raise ExperimentError(f"outputs have {found.shape} elements, not {expected.shape}")
    return float(np.abs(found.reshape(expected.shape) - expected).max() / np.abs(expected).max())


def relative_rms(found: np.ndarray, expected: np.ndarray) -> float:
    """The differences' root mean square as a share of the expected values'."""
    return float(np.linalg.norm(found.reshape(expected.shape) - expected) / np.linalg.norm(expected))


def plan_turn(probe_ms: float) -> tuple[int, int]:
    """Runs to warm up (about 60 ms) and to time (about 300 ms) for something that takes this long."""
    ms = max(probe_ms, 1e-3)
    return min(max(int(60 / ms), 5), 300), min(max(int(300 / ms), 10), 100)


@dataclass
class Field:
    """All contestants of a work and what became of each."""

    reference: Reference
    heats: dict[str, int]  # how many of a heat race
    prepared: dict[str, Contestant] = field(default_factory=dict)
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    rounds: dict[str, list[Timing]] = field(default_factory=dict)

    def enter(self, contestant: Contestant, budget: Budget, seconds: float) -> None:
        """Prepares and checks one contestant."""
        name = contestant.name
        if contestant.instead_of and contestant.instead_of not in self.failures:
            return
        if budget.left <= 0:
            self.skipped.append(name)
            return
        start = time.monotonic()
        try:
            with time_limit(seconds):
                made = contestant.prepare()
            result = self.compared(contestant, made)
        except Exception as error:  # it says why and stays out
            self.fail(contestant, error)
            return
        result["prepare_s"] = round(time.monotonic() - start, 2)
        self.prepared[name], self.results[name] = contestant, result
        print(f"  {name}: {made.probe_ms:.3f} ms, off by {result['difference']:.1e}", flush=True)

    def compared(self, contestant: Contestant, made: Prepared) -> dict[str, Any]:
        """What is kept of a contestant; too large a difference is an error."""
        off = relative_difference(made.outputs, self.reference.plain)
        limit = self.reference.tolerance[contestant.precision]
        if not off <= limit:
            raise ExperimentError(f"differs from PyTorch in fp32 by {off:.2e} of the largest output, over {limit:g}")
        exact = rms = None
        if self.reference.exact is not None:
            first = made.outputs[: len(self.reference.exact)]
            exact, rms = relative_difference(first, self.reference.exact), relative_rms(first, self.reference.exact)
        return {
            "heat": contestant.heat,
            "precision": contestant.precision,
            "difference": off,
            "error_vs_float64": exact,
            "rms_error_vs_float64": rms,
            "probe_ms": made.probe_ms,
            **made.facts,
        }

    def fail(self, contestant: Contestant, error: BaseException) -> None:
        text = " ".join(str(error).split()) or repr(error)
        self.failures[contestant.name] = f"{type(error).__name__}: {text[:600]}"
        print(f"  {contestant.name}: out ({self.failures[contestant.name][:160]})", flush=True)
        with contextlib.suppress(Exception):
            contestant.close()

    def racers(self) -> list[Contestant]:
        """The fastest of each heat, the others closed."""
        chosen: list[Contestant] = []
        for heat in dict.fromkeys(c.heat for c in self.prepared.values()):
            entered = [c for c in self.prepared.values() if c.heat == heat and c.raced]
            entered.sort(key=lambda c: self.results[c.name]["probe_ms"])
            chosen += entered[: self.heats.get(heat, 1)]
        for contestant in self.prepared.values():
            if contestant not in chosen:
                contestant.close()
        return chosen

    def race(self, rounds: int, budget: Budget, seconds: float) -> None:
        """The chosen ones in turn, back and forth; who fails leaves."""
        racers = self.racers()
        for number in range(rounds):
            if racers and number > 0 and budget.left <= 0:
                self.skipped.append(f"round {number + 1} and later")
                break
            for contestant in racers if number % 2 == 0 else racers[::-1]:
                if contestant.name in self.failures:
                    continue
                try:
                    with time_limit(seconds):
                        timing = contestant.turn()
                except Exception as error:
                    self.fail(contestant, error)
                    continue
                timing["round"] = number
                timing["median_ms"] = median(timing["samples_ms"])
                self.rounds.setdefault(contestant.name, []).append(timing)
        for contestant in racers:
            with contextlib.suppress(Exception):
                contestant.close()

    def summary(self, limit_ms: float) -> dict[str, dict[str, Any]]:
        """Every contestant that agreed: median of the rounds' medians, least sample, spread, share of the limit."""
        kept: dict[str, dict[str, Any]] = {}
        for name, result in self.results.items():
            turns = self.rounds.get(name, [])
            medians = [t["median_ms"] for t in turns] or [result["probe_ms"]]
            middle = median(medians)
            kept[name] = {
                "median_ms": middle,
                "min_ms": min((min(t["samples_ms"]) for t in turns), default=result["probe_ms"]),
                "spread": (max(medians) - min(medians)) / middle,
                "raced": bool(turns),
                "share_of_limit": limit_ms / middle,
                **result,
                "rounds": [{**t, "samples_ms": [round(s, 5) for s in t["samples_ms"]]} for t in turns],
            }
        return kept

    def fastest(self, heat: str, name_has: str = "") -> str | None:
        """Who won a heat's race; None where nobody raced."""
        names = [n for n in self.rounds if self.results[n]["heat"] == heat and name_has in n]
        return min(names, key=lambda n: median([t["median_ms"] for t in self.rounds[n]]), default=None)

    def ratio(self, above: str | None, below: str | None) -> float | None:
        """Median over the rounds of the ratio of two contestants' times; None where one did not race."""
        of = {t["round"]: t["median_ms"] for t in self.rounds.get(below or "", [])}
        turns = self.rounds.get(above or "", [])
        ratios = [t["median_ms"] / of[t["round"]] for t in turns if t["round"] in of]
        return median(ratios) if ratios else None
