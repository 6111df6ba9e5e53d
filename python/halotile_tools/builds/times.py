"""Times two builds in turn at one work: its runs, and what a process takes before and behind them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from halotile_tools.builds.bits import BitComparison
from halotile_tools.builds.cases import Work
from halotile_tools.builds.sides import BASE, NEW, Call, Keys, Sides
from halotile_tools.common import median
from halotile_tools.machine_use import watched

Turn = dict[str, Any]
MOST_SECONDS = 300  # of one process's runs


def order(number: int) -> tuple[str, str]:
    """Who goes first changes from round to round, so that what drifts meets both."""
    return (BASE, NEW) if number % 2 == 0 else (NEW, BASE)


def ratios(rounds: list[dict[str, Turn]], what: str) -> dict[str, Any]:
    """The median of the rounds' ratios, new over base, and their spread. Each round has its own, so that a drifting
    clock cancels."""
    rounds = [turns for turns in rounds if what in turns[BASE]]
    each = [turns[NEW][what] / turns[BASE][what] for turns in rounds]
    medians = {side: median([turns[side][what] for turns in rounds]) for side in (BASE, NEW)}
    return {**medians, "ratio": median(each), "low": min(each), "high": max(each), "rounds": each}


def least_ratio(rounds: list[dict[str, Turn]]) -> float:
    """The fastest run of all, new over base: what is left of a time when other work takes no part in it."""
    least = {side: min(ms for turns in rounds for ms in turns[side]["samples_ms"]) for side in (BASE, NEW)}
    return least[NEW] / least[BASE]


class Race:
    """Both builds at one work."""

    def __init__(self, sides: Sides, work: Work, rounds: int, seconds: float, probe_ms: float) -> None:
        self.sides, self.work = sides, work
        self.rounds = max(1, (rounds + 1) // 2) if work.heavy else rounds
        self.runs = max(3, min(1000, round(1000 * seconds / max(probe_ms, 1e-3))))

    def call(self, side: str, warmup: int, runs: int) -> Call:
        # As many runs for both, however narrow the interval of their median is.
        keys: Keys = {"measure.warmup": warmup, "measure.min_runs": runs, "measure.tightness": 1}
        keys["measure.max_seconds"] = MOST_SECONDS
        with tempfile.TemporaryDirectory(prefix="halotile_builds_") as folder:
            return self.sides.run(side, self.work.config, {**self.work.keys, **keys}, Path(folder))

    def timed(self, side: str) -> Turn:
        samples = self.call(side, max(2, self.runs // 10), self.runs).result["samples_ms"]
        return {"samples_ms": samples, "median_ms": median(samples)}

    def prepared(self, side: str) -> Turn:
        """A process with one run: all of its time but that run's."""
        call = self.call(side, 0, 1)
        run_seconds = sum(call.result["samples_ms"]) / 1000
        return {"preparation_s": call.seconds - run_seconds, "cpu_s": call.cpu_seconds}

    def turn(self, side: str, number: int) -> Turn:
        """Preparation, most of the time that a turn takes, in two rounds of four only: one of either order."""
        return watched(lambda: {**self.timed(side), **(self.prepared(side) if number % 4 < 2 else {})})

    def result(self) -> dict[str, Any]:
        rounds = [{side: self.turn(side, number) for side in order(number)} for number in range(self.rounds)]
        return {
            "runs": self.runs,
            "time_ms": ratios(rounds, "median_ms"),
            "least_time_ratio": least_ratio(rounds),
            "preparation_s": ratios(rounds, "preparation_s"),
            "foreign_cpu_share": max(turn["foreign_cpu_share"] for turns in rounds for turn in turns.values()),
            "turns": rounds,
        }


def compare_work(comparison: BitComparison, work: Work, rounds: int, seconds: float) -> dict[str, Any]:
    """Bits and planned memory of a work, then its times; without equal bits there is nothing to time."""
    answer = comparison.compare(work.case())
    if answer.get("refused") or answer["differences"]:
        return answer
    return {**answer, **Race(comparison.sides, work, rounds, seconds, answer["sample_ms"]).result()}
