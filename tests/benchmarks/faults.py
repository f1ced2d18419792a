"""The fault matrix, repeated several times: ``python tests/benchmarks/faults.py --json [--tries N] [--only NAME …]``.

Every try is a real fault on a real run (`tests/faults`). ``figures`` has for each fault the number of tries,
how often everything unaffected continued with a correct message, and the losses (events, checkpoints, samples).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "faults")]

from catalogue import FAULTS, Fault  # noqa: E402 - found by the path above
from faultlab import Lab  # noqa: E402


def main(arguments: list[str] | None = None) -> int:
    """Returns 1 if any try failed or lost something."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--tries", type=int, default=50, metavar="N", help="tries of each fault; default: 50")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=[fault.name for fault in FAULTS])
    parser.add_argument("--seed", type=int, default=0, help="of the random moments; default: 0")
    options = parser.parse_args(arguments)
    chosen = [fault for fault in FAULTS if not options.only or fault.name in options.only]
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        for name in ("HOME", "CACHE", "CONFIG"):
            os.environ[f"GPUTRAIN_{name}"] = str(Path(folder) / name.lower())
        lab = Lab(Path(folder), options.seed)
        try:
            figures = {fault.name: _repeat(fault, lab, options.tries, quiet=options.json) for fault in chosen}
        finally:
            lab.close()
    if options.json:
        print(json.dumps({"figures": figures, "seed": options.seed}, indent=2))
    return int(any(f["survived"] < f["tries"] or f["lost"] for f in figures.values() if f["tries"]))


def _repeat(fault: Fault, lab: Lab, tries: int, *, quiet: bool) -> dict[str, Any]:
    if reason := fault.unavailable():
        return _told({"tries": 0, "survived": 0, "lost": 0, "skipped": reason}, fault, quiet)
    survived = lost = 0
    failures: list[str] = []
    began = time.monotonic()
    said = ""
    for _ in range(tries):
        try:
            finding = fault.provoke(lab)
        except Exception as error:  # noqa: BLE001 - a try that breaks off has failed, and the others go on
            failures.append(f"{type(error).__name__}: {error}"[:500])
            lab.close()
            continue
        survived += finding.survived
        lost += finding.lost
        said = finding.said
        if not finding.survived or finding.lost:
            failures.append(str(finding))
    figures = {"tries": tries, "survived": survived, "lost": lost, "said": said, "what": fault.what}
    if failures:
        figures["failures"] = failures[:5]
    figures["seconds"] = round(time.monotonic() - began, 1)
    return _told(figures, fault, quiet)


def _told(figures: dict[str, Any], fault: Fault, quiet: bool) -> dict[str, Any]:
    line = f"{fault.name:<28} {figures['survived']:>3} of {figures['tries']:>3}  lost {figures['lost']}"
    print(f"{line}  {figures.get('skipped', '')}", file=sys.stderr if quiet else sys.stdout, flush=True)
    return figures


if __name__ == "__main__":
    sys.exit(main())
