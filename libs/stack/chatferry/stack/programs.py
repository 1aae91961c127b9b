"""Finding a program: a newer one on PATH first, else the one inside a Python package."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from chatferry.stack.errors import ProgramError

_PROBE_S = 30
_MISSING_LIBRARY = re.compile(r"error while loading shared libraries: ([^:\s]+)")
_MISSING_SYMBOLS = re.compile(r"version `([^']+)' not found")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A program by its name on PATH, how it tells its version, and the oldest that will do."""

    name: str
    version_flag: str
    version_pattern: re.Pattern[str]
    oldest: tuple[int, int]


def find_program(wanted: Wanted, env: Mapping[str, str], bundled: Callable[[], Path]) -> Path:
    """The program on PATH if it is new enough and runs, else the bundled one.

    `bundled` returns a runnable file or raises ProgramError. Raises ProgramError that tells what is wrong with each.
    """
    try:
        return _on_path(wanted, env)
    except ProgramError as on_path:
        try:
            path = bundled()
            probe(wanted, path, env)
        except ProgramError as in_package:
            raise ProgramError(f"{on_path}, and {in_package}") from None
        return path


def probe(wanted: Wanted, path: Path, env: Mapping[str, str]) -> tuple[int, int]:
    """Run the program for its version. Raises ProgramError when it does not run (naming a missing shared library)."""
    try:
        answer = subprocess.run(
            [str(path), wanted.version_flag],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            text=True,
            errors="replace",
            env=dict(env),
            timeout=_PROBE_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ProgramError(f"{path} does not run ({error.__class__.__name__}: {error})") from error
    output = answer.stdout + answer.stderr
    if missing := _MISSING_LIBRARY.search(output):
        raise ProgramError(f"{path} needs the shared library {missing[1]}, which this machine lacks")
    if missing := _MISSING_SYMBOLS.search(output):
        raise ProgramError(f"{path} needs {missing[1]} in a shared library of this machine, which is older")
    version = wanted.version_pattern.search(output)
    if answer.returncode != 0 or version is None:
        raise ProgramError(f"{path} {wanted.version_flag} ended with {answer.returncode}: {output.strip()[:200]!r}")
    return int(version[1]), int(version[2] or 0)


def in_package(package: str, distribution: str, inside: str) -> Path:
    """A file of an installed package, without importing it. Raises ProgramError when it is not there."""
    try:
        spec = find_spec(package)
    except ModuleNotFoundError:
        spec = None
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if (found := Path(folder) / inside).is_file():
            return found
    raise ProgramError(f"the Python package {distribution}, which brings one, is not installed")


def runnable(program: Path, bin_folder: Path) -> Path:
    """The program with its run bit set, in place if it may be, else as a copy in `bin_folder`. Raises OSError."""
    if os.access(program, os.X_OK):
        return program
    try:
        program.chmod(program.stat().st_mode | 0o111)
    except OSError:
        return _runnable_copy(program, bin_folder)
    return program


def _runnable_copy(program: Path, bin_folder: Path) -> Path:
    copy = bin_folder / program.name
    if not copy.exists() or copy.stat().st_size != program.stat().st_size:
        bin_folder.mkdir(parents=True, exist_ok=True)
        fresh = copy.with_name(f"{copy.name}.{os.getpid()}")
        shutil.copyfile(program, fresh)
        fresh.chmod(0o755)
        fresh.replace(copy)
    return copy


def _on_path(wanted: Wanted, env: Mapping[str, str]) -> Path:
    found = shutil.which(wanted.name, path=env.get("PATH", ""))
    if found is None:
        raise ProgramError(f"there is no {wanted.name} on PATH")
    version = probe(wanted, Path(found), env)
    if version < wanted.oldest:
        raise ProgramError(
            f"{found} is version {version[0]}.{version[1]}, older than {wanted.oldest[0]}.{wanted.oldest[1]}"
        )
    return Path(found)
