"""`python -m chatferry.chat`."""

from chatferry.chat.app import main

main()
