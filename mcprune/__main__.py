"""`python -m mcprune`: the command line."""

import sys


def main() -> int:
    """Run the command line; the console script's entry point."""
    from mcprune.faces.cli import main as command

    return command(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
