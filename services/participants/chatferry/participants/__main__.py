"""`python -m chatferry.participants`."""

from chatferry.participants.app import main

main()
