"""Write goldens.json: `python tests/goldens/record.py [--check | --texts] [NAME ...]`.

--check writes nothing and says what differs. --texts renews the hashes of texts alone, after a rename of fields or options, and
refuses where anything else differs. Names limit either to some configurations.
"""

import argparse
import json
import sys
import tempfile
import time
import warnings
from pathlib import Path

from configurations import CONFIGURATIONS
from digest import digest, machine
from processes import run_whole

GOLDENS = Path(__file__).with_name("goldens.json")


def main() -> int:
    """Run, compare or write; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--texts", action="store_true")
    parser.add_argument("names", nargs="*", metavar="NAME")
    given = parser.parse_args()
    warnings.simplefilter("error")
    goldens = json.loads(GOLDENS.read_text()) if GOLDENS.exists() else {"machine": machine(), "digests": {}}
    digests, fails = goldens["digests"], 0
    is_same_machine = goldens["machine"] == machine()
    if not is_same_machine and (given.check or given.texts or given.names):
        print(f"goldens.json is of another machine: {goldens['machine']}, not {machine()}", file=sys.stderr)
        return 2
    for name in given.names or CONFIGURATIONS:
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            run_whole(name, Path(folder, name))
            found = digest(Path(folder, name))
        old = digests.get(name, {})
        different = sorted(key for key in found if found[key] != old.get(key))
        print(
            f"{name:18s} {time.monotonic() - began:5.1f} s {len(found['progress']):3d} blocks   {', '.join(different)}",
            flush=True,
        )
        if given.check or (given.texts and different not in ([], ["texts"])):
            fails += bool(different)
        else:
            digests[name] = found
    if not given.check and not fails:
        ordered = {name: digests[name] for name in CONFIGURATIONS if name in digests}
        GOLDENS.write_text(json.dumps({"machine": machine(), "digests": ordered}, indent=1) + "\n")
    return int(fails > 0)


if __name__ == "__main__":
    sys.exit(main())
