"""`python -m chatferry.extractor` runs the service."""

from chatferry.extractor.app import main

main()
