"""`python -m mcprune`: the command line."""

import gc
import os
import sys

# Objects beyond which the youngest ones are searched for garbage: Python's 700 make loading torch and scikit-learn a third slower.
YOUNG = 100_000


def main() -> int:
    """Run the command line; the console script's entry point."""
    # Threads of OpenMP that spin while they wait slow every other pool down; this must stand before torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    gc.set_threshold(YOUNG, 20, 20)
    try:
        from mcprune.cli.main import main as command

        return command(sys.argv[1:])
    except KeyboardInterrupt:  # while modules are imported; later the command line sees to it
        print("mcprune: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
