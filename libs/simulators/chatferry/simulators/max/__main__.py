"""`python -m chatferry.simulators.max`: a platform as a process of its own."""

from chatferry.simulators.max.command import main

if __name__ == "__main__":
    main()
