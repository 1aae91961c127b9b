"""`python -m chatferry.verifier`."""

from chatferry.verifier.app import main

if __name__ == "__main__":
    main()
