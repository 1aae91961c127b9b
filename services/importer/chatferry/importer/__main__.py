"""`python -m chatferry.importer`."""

from __future__ import annotations

from chatferry.importer.app import main

if __name__ == "__main__":
    main()
