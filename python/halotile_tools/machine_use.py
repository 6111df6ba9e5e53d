"""How busy this machine is with work that is not ours: says how far a time can be trusted."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def busy_seconds() -> float:
    """Seconds that this machine's cores have worked so far, for anyone."""
    fields = Path("/proc/stat").read_text(encoding="utf-8").split("\n", 1)[0].split()[1:9]
    user, nice, system, _idle, _iowait, irq, softirq, steal = (int(f) for f in fields)
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def own_seconds() -> float:
    """Processor seconds of this process and of its finished children."""
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in usage)


def watched(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Calls `work` and adds what share of the machine others used meanwhile."""
    begin, busy, own = time.perf_counter(), busy_seconds(), own_seconds()
    timing = work()
    seconds = time.perf_counter() - begin
    foreign = (busy_seconds() - busy) - (own_seconds() - own)
    timing["foreign_cpu_share"] = round(max(0.0, foreign / seconds / (os.cpu_count() or 1)), 4)
    return timing
