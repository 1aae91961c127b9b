"""`python -m tools.documents [--check | --accept-breaks]`; 1: something has drifted, or would break its readers."""

from __future__ import annotations

import argparse
import sys

from tools.documents.catalogue import ROOT
from tools.documents.writing import broken_readers, drifted, write

DOCS = ROOT / "docs"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.documents", description="The documents made from the code.")
    parser.add_argument("--check", action="store_true", help="write nothing, say what has drifted")
    parser.add_argument("--accept-breaks", action="store_true", help="write schemas that break their readers too")
    asked = parser.parse_args()
    if asked.check:
        return _report(drifted(DOCS), "docs/{} is not what the code says: type `make generate` and commit it")
    broken = [] if asked.accept_breaks else broken_readers(DOCS)
    if broken:
        _report(broken, "{}")
        sys.stderr.write(
            "nothing was written: readers of the published schemas would break. Keep the old field and add a new one,"
            " or tell them first and type `python -m tools.documents --accept-breaks`\n"
        )
        return 1
    for path in write(DOCS):
        print(f"docs/{path}")
    return 0


def _report(lines: list[str], sentence: str) -> int:
    for line in lines:
        sys.stderr.write(sentence.format(line) + "\n")
    return 1 if lines else 0


if __name__ == "__main__":
    raise SystemExit(main())
