"""`python -m mcprune`: the command line."""

import os
import sys


def main() -> int:
    """Run the command line; the console script's entry point."""
    # Threads of OpenMP that spin while they wait slow every other pool down; this must stand before torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from mcprune.faces.cli import main as command

    return command(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
