"""`python -m mcprune`: the command line."""

import os
import sys


def main() -> int:
    """Run the command line; the console script's entry point."""
    # Threads of OpenMP that spin while they wait slow every other pool down; this must stand before torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        from mcprune.cli.main import main as command

        return command(sys.argv[1:])
    except KeyboardInterrupt:  # while modules are imported; later the command line sees to it
        print("mcprune: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
