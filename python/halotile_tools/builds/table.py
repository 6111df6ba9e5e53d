"""What became of a comparison: the verdict, and a table for reading."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from halotile_tools.builds.sides import BASE, NEW


@dataclass(frozen=True)
class Limits:
    """New over base, at most."""

    time: float = 1.02
    preparation: float = 1.1
    memory: float = 1.0


def faults(answer: dict[str, Any], limits: Limits) -> list[str]:
    """What is wrong with one case or work, in words."""
    found = [f"bits: {words}" for words in answer.get("differences", [])]
    judgements = (
        ("time", answer.get("time_ms", {}).get("ratio"), limits.time),
        ("preparation", answer.get("preparation_s", {}).get("ratio"), limits.preparation),
        ("memory", answer.get("memory_ratio"), limits.memory),
    )
    return found + [f"{what} {value:.3f}" for what, value, limit in judgements if value is not None and value > limit]


def judged(result: dict[str, Any], limits: Limits) -> dict[str, Any]:
    """All that is wrong, by name."""
    wrong = {answer["name"]: faults(answer, limits) for answer in (*result["cases"], *result["works"])}
    wrong = {name: words for name, words in wrong.items() if words}
    return {"good": not wrong, "limits": asdict(limits), "faults": wrong}


def refused_by_both(answer: dict[str, Any]) -> bool:
    return bool(answer.get("refused")) and not answer.get("differences")


def spread(ratio: dict[str, Any]) -> str:
    return f"{ratio['ratio']:6.3f} ({ratio['low']:.3f} to {ratio['high']:.3f})"


def print_works(works: list[dict[str, Any]]) -> None:
    """A line a work."""
    timed = [work for work in works if "time_ms" in work]
    if not timed:
        return
    width = max(len(work["name"]) for work in timed)
    head = f"{'base ms':>9} {'new ms':>9}  {'time (spread)':23} {'least':>6}  {'preparation (spread)':23} {'memory':>6}"
    print(f"{'':{width}} {head} {'others':>7}")
    for work in timed:
        time = work["time_ms"]
        numbers = f"{time[BASE]:9.3f} {time[NEW]:9.3f}  {spread(time):23} {work['least_time_ratio']:6.3f}"
        more = f"{spread(work['preparation_s']):23} {work['memory_ratio']:6.3f} {100 * work['foreign_cpu_share']:6.1f}%"
        print(f"{work['name']:{width}} {numbers}  {more}")
    print("new over base; least: of the fastest runs; others: share of the processors that other work took at most")


def print_table(result: dict[str, Any], limits: Limits) -> None:
    """Works, refusals, sums, and what is wrong."""
    print()
    print_works(result["works"])
    answers = [*result["cases"], *result["works"]]
    refused = [answer for answer in answers if refused_by_both(answer)]
    for said in dict.fromkeys(words for answer in refused for words in answer["refused"].values()):
        print(f"refused by both: {said.splitlines()[0]}")
    compared = [answer for answer in answers if not refused_by_both(answer)]
    equal = sum(not answer["differences"] for answer in compared)
    files = sum(answer.get("files", 0) for answer in compared)
    programs, machine = result["provenance"]["programs"], result["provenance"]
    commits = " against base ".join(programs[side].get("git_commit", "?")[:9] for side in (NEW, BASE))
    gpus = ", ".join(gpu["name"] for gpu in machine["gpus"]) if machine["device"] == "cuda" else machine["cpu"]
    print(f"{commits} on {gpus}, load {machine['load_average']:.1f}")
    print(f"bits: {equal} of {len(compared)} equal ({files} maps and logits); {len(refused)} refused by both")
    ratios = [answer["memory_ratio"] for answer in compared if "memory_ratio" in answer]
    if ratios:
        print(f"planned memory, new over base: {min(ratios):.3f} to {max(ratios):.3f} (at most {limits.memory:g})")
    wrong = result["verdict"]["faults"]
    for name, words in wrong.items():
        print(f"  {name}: {'; '.join(words)}")
    print("all good" if not wrong else f"{len(wrong)} with differences or beyond a limit")
