"""The two programs that are compared: built from commits in worktrees of their own, or given ready-made."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from halotile_tools.common import (
    CONFIGS,
    ROOT,
    ExperimentError,
    call_program,
    git,
    halotile_info,
    override_text,
)
from halotile_tools.machine_use import own_seconds

BASE, NEW = "base", "new"
Keys = dict[str, Any]  # overrides of a config
T = TypeVar("T")


@dataclass(frozen=True)
class Call:
    """One `halotile run`: what it printed, and what its process took."""

    result: dict[str, Any]
    seconds: float  # by the clock
    cpu_seconds: float  # of user and system; means something only where calls do not run beside each other


@dataclass(frozen=True)
class Sides:
    """Both programs; the same configs are read by both."""

    base: Path
    new: Path

    def program(self, side: str) -> Path:
        return self.base if side == BASE else self.new

    def of_each(self, call: Callable[[str], T]) -> dict[str, T]:
        return {side: call(side) for side in (BASE, NEW)}

    def info(self) -> dict[str, Any]:
        """What each says of its build: commit, compiler, devices."""
        return self.of_each(lambda side: halotile_info(self.program(side)))

    def run(self, side: str, config: str, keys: Keys, folder: Path) -> Call:
        """`halotile run` of one side. The environment is that of both."""
        words = [f"{key}={override_text(value)}" for key, value in keys.items()]
        arguments = ["run", str(CONFIGS / config), "--json", f"output.directory={folder}", *words]
        begin, own = time.perf_counter(), own_seconds()
        printed = call_program("program", self.program(side), arguments)
        return Call(json.loads(printed), time.perf_counter() - begin, own_seconds() - own)

    def plan(self, side: str, config: str, keys: Keys) -> dict[str, Any]:
        words = [f"{key}={override_text(value)}" for key, value in keys.items()]
        return json.loads(
            call_program("program", self.program(side), ["plan", str(CONFIGS / config), "--json", *words])
        )


def stdout_of_tool(command: list[str]) -> None:
    """Runs a tool whose output is only of interest when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        end = "\n".join((done.stdout + done.stderr).strip().splitlines()[-20:])
        raise ExperimentError(f"{' '.join(command)}: exit status {done.returncode}:\n{end}")


def build(tree: Path, folder: Path, cuda: bool, jobs: int) -> Path:
    """The program of a tree, with the preset for release; made again only as far as the tree has changed."""
    switch = "ON" if cuda else "OFF"
    configure = ["cmake", "-S", str(tree), "--preset", "release", "-B", str(folder)]
    stdout_of_tool([*configure, "-DHALOTILE_TESTS=OFF", f"-DHALOTILE_CUDA={switch}"])
    stdout_of_tool(["cmake", "--build", str(folder), "--target", "halotile", "--parallel", str(jobs)])
    return folder / "halotile"


@contextmanager
def checked_out(commit: str, folder: Path, keep: bool) -> Iterator[Path]:
    """A worktree of a commit at `folder`; one that is kept there is brought to this commit."""
    found = git("rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}")
    if not found:
        raise ExperimentError(f"{commit}: git knows no such commit; name one, or give a program with --base-program")
    if (folder / ".git").exists():
        stdout_of_tool(["git", "-C", str(folder), "checkout", "--detach", "--quiet", found])
    else:
        stdout_of_tool(["git", "-C", str(ROOT), "worktree", "add", "--detach", "--quiet", str(folder), found])
    try:
        yield folder
    finally:
        if not keep:
            stdout_of_tool(["git", "-C", str(ROOT), "worktree", "remove", "--force", str(folder)])


@dataclass(frozen=True)
class Wanted:
    """Where one side comes from: a program, else a commit, else the working tree as it is."""

    program: Path | None
    commit: str | None


@contextmanager
def made_sides(base: Wanted, new: Wanted, folder: Path, keep: bool, cuda: bool, jobs: int) -> Iterator[Sides]:
    """Both programs, for the length of the block."""
    with ExitStack() as stack:

        def made(side: str, wanted: Wanted) -> Path:
            if wanted.program is not None:
                return wanted.program.resolve()
            tree = ROOT
            if wanted.commit is not None:
                tree = stack.enter_context(checked_out(wanted.commit, folder / f"{side}-tree", keep))
            print(f"building {side} ({wanted.commit or 'the working tree'})", flush=True)
            return build(tree, folder / f"{side}-build", cuda, jobs)

        yield Sides(made(BASE, base), made(NEW, new))
