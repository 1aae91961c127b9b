"""`python -m chatferry.simulators.bitrix24 serve`: a portal as a process of its own."""

from chatferry.simulators.bitrix24.command import main

if __name__ == "__main__":
    main()
