"""The repository as the architecture tests see it."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
_NOT_OURS = {"__pycache__", "node_modules", "dist"}


def files() -> Iterator[Path]:
    """Every file of the repository; what setup, tools and runs leave behind is not of it."""
    for folder, below, names in os.walk(ROOT):
        below[:] = [name for name in below if name not in _NOT_OURS and (name[0] != "." or name == ".ci")]
        yield from (Path(folder, name) for name in names if not name.endswith(".egg-info"))


def sources(*tops: str) -> list[Path]:
    """Python files below these folders."""
    return sorted(file for file in files() if file.suffix == ".py" and file.relative_to(ROOT).parts[0] in tops)


def project() -> dict[str, Any]:
    """The root's pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def members() -> dict[str, Path]:
    """The workspace's members: module name and folder."""
    folders = [file.parent for top in ("libs", "services") for file in (ROOT / top).glob("*/pyproject.toml")]
    return {f"chatferry.{folder.name}": folder for folder in sorted(folders)}


def contracts() -> list[dict[str, Any]]:
    """The import rules."""
    found: list[dict[str, Any]] = project()["tool"]["importlinter"]["contracts"]
    return found
