"""`python -m tests.storage --fault KIND --count N --seed S --json`: one kind of fault, many times.

The last line of the output is a JSON object; the exit code is 1 where there is a finding.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import sys
import tempfile
from pathlib import Path

from tests.storage.faults import FAULTS


def main() -> int:
    """Run one kind and print what came of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.storage", description=__doc__)
    parser.add_argument("--fault", choices=FAULTS, required=True)
    parser.add_argument("--count", type=int, required=True, help="how many")
    parser.add_argument("--seed", type=int, default=1, help="decides everything")
    parser.add_argument("--json", action="store_true", help="only the JSON object on stdout")
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)
    folder = Path(tempfile.mkdtemp(prefix="vedette-storage-"))
    outcome = FAULTS[given.fault](folder, given.count, given.seed)
    if not outcome.findings:
        shutil.rmtree(folder)
    if not given.json:
        for finding in outcome.findings:
            sys.stdout.write(f"finding: {finding}\n")
    sys.stdout.write(json.dumps(outcome.facts() | {"seed": given.seed}) + "\n")
    return 1 if outcome.findings else 0


if __name__ == "__main__":
    sys.exit(main())
