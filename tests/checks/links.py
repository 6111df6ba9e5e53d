"""Checks that what the documentation names is there: every link of every Markdown file, headings included, and every
path in backticks or in a block of shell commands.

A word is a path when its first part is a file or folder of the repository's root or of the text's own folder, or when
its ending is that of a source file: then some file's path must end in it. `*`, `<machine>` and `{a,b}` stand for
anything. What programs write (build/, results/) is nobody's to check."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = {"configs/mine.yaml"}  # what readers are told to make
SOURCE = re.compile(r"\.(cpp|hpp|cu|cuh|cmake|py|sh|md|js|css)$")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
SPAN = re.compile(r"`([^`]+)`")
HEADING = re.compile(r"^#+\s+(.*?)\s*$")
PATH = re.compile(r"[\w.<>{},*/-]+")
ANYTHING = re.compile(r"\*+|<[^>]*>|\{[^}]*\}")


def tracked() -> list[str]:
    done = subprocess.run(["git", "-C", str(ROOT), "ls-files"], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def with_folders(files: list[str]) -> set[str]:
    return {*files, *(str(folder) for file in files for folder in PurePosixPath(file).parents)}


def is_there(path: str, entries: set[str]) -> bool:
    if path in entries:
        return True
    parts = ANYTHING.split(path)
    if len(parts) == 1:
        return False
    pattern = re.compile("[^/]*".join(re.escape(part) for part in parts))
    return any(pattern.fullmatch(entry) for entry in entries)


def anchors(text: str) -> set[str]:
    """Of the headings, as GitHub makes them."""
    found = set()
    for line, block in lines_of(text):
        heading = None if block else HEADING.match(line)
        if heading:
            kept = re.sub(r"[^\w\- ]", "", heading[1].lower())
            found.add(kept.replace(" ", "-"))
    return found


def lines_of(text: str) -> list[tuple[str, str]]:
    """Each line, and the language of the block of code in which it stands; empty: in none."""
    lines = []
    block = ""
    for line in text.splitlines():
        fence = line.lstrip().startswith("```")
        if fence and not block:
            block = line.strip().strip("`") or "text"
            lines.append((line, block))
        else:
            lines.append((line, block))
            block = "" if fence else block
    return lines


def wrong_link(file: str, target: str, entries: set[str]) -> bool:
    if re.match(r"[a-z]+:", target):
        return False  # elsewhere
    name, _, anchor = target.partition("#")
    path = (ROOT / file).parent / name if name else ROOT / file
    path = path.resolve()
    if not path.is_relative_to(ROOT) or path.relative_to(ROOT).as_posix() not in entries:
        return True
    return bool(anchor) and anchor not in anchors(path.read_text(encoding="utf-8"))


def wrong_path(file: str, word: str, entries: set[str]) -> bool:
    word = word.removeprefix("./").rstrip("/.,:;")
    if not word or word in EXAMPLES or not PATH.fullmatch(word) or word.startswith(("/", "-", "..")):
        return False
    folder = PurePosixPath(file).parent
    places = {word, str(folder / word)}
    if any(is_there(place, entries) for place in places):
        return False
    first = word.partition("/")[0]
    if "/" in word and (first in entries or str(folder / first) in entries):
        return True
    return bool(SOURCE.search(word)) and not is_there(word, tails(word, entries))


def tails(word: str, entries: set[str]) -> set[str]:
    """The last parts of paths, as many as `word` has."""
    parts = word.count("/") + 1
    return {"/".join(entry.split("/")[-parts:]) for entry in entries}


def problems() -> list[str]:
    files = tracked()
    entries = with_folders(files)
    wrong = []
    for file in files:
        if not file.endswith(".md"):
            continue
        for number, (line, block) in enumerate(lines_of((ROOT / file).read_text(encoding="utf-8")), 1):
            links = [] if block else LINK.findall(line)
            wrong += [f"{file}:{number}: no such link: {t}" for t in links if wrong_link(file, t, entries)]
            code = [line] if block == "sh" else [] if block else SPAN.findall(line)
            words = [word for text in code for word in text.split()]
            wrong += [f"{file}:{number}: no such path: {w}" for w in words if wrong_path(file, w, entries)]
    return wrong


if __name__ == "__main__":
    found = problems()
    print("\n".join(found) if found else "links: fine")
    sys.exit(1 if found else 0)
