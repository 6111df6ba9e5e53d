"""Reads and writes halotile's model files (YAML, one layer a line)."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
_RESERVED = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}


def read_model(path: Path) -> dict[str, Any]:
    """A model file as a dictionary. (YAML 1.1 reads 1e-4, without a point, as a word: use float() on numbers.)"""
    with path.open(encoding="utf-8") as file:
        return yaml.safe_load(file)


def format_value(value: Any) -> str:
    """A value as it stands in a flow mapping: words bare where they can be, lists as [h, w]."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(format_value(v) for v in value)}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {format_value(v)}' for key, v in value.items())}}}"
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _RESERVED:
        return value
    return json.dumps(value)


def format_model(model: dict[str, Any], comment: str = "") -> str:
    """The text of a model file: name, input, layers."""
    lines = [f"# {line}" for line in comment.splitlines()]
    lines += [f"name: {format_value(model['name'])}", f"input: {format_value(model['input'])}", "layers:"]
    lines += [f"  - {format_value(layer)}" for layer in model["layers"]]
    return "\n".join(lines) + "\n"


def write_model(path: Path, model: dict[str, Any], comment: str = "") -> None:
    """Writes a model file that read_model gives back."""
    path.write_text(format_model(model, comment), encoding="utf-8")
