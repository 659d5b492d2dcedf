"""`python -m dropsim` is the command line."""

from dropsim.cli import main

if __name__ == "__main__":
    main()
