"""The fault matrix, repeated several times: ``python tests/benchmarks/faults.py --json [--tries N] [--only NAME …]``.

Every try is a real fault on a real run (`tests/faults`). ``figures`` has for each fault the number of tries,
how often everything unaffected continued with a correct message, and the losses (events, checkpoints, samples).

With ``--results FILE`` each try becomes a line of FILE at once, tries of all faults come in turn, and what stands in
FILE is not tried again: an interrupted matrix goes on where it was. What a failed try leaves is kept beside FILE.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "faults")]

from catalogue import FAULTS, Fault  # noqa: E402 - found by the path above
from fault_results import figures_of, kept_lines, table  # noqa: E402
from fault_tries import try_all  # noqa: E402
from faultlab import Lab  # noqa: E402


def main(arguments: list[str] | None = None) -> int:
    """Returns 1 if any try failed or lost something."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--table", action="store_true", help="print the figures as a table in Markdown")
    parser.add_argument("--tries", type=int, default=50, metavar="N", help="tries of each fault; default: 50")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=[fault.name for fault in FAULTS])
    parser.add_argument("--seed", type=int, default=0, help="of the random moments; default: 0")
    parser.add_argument("--results", type=Path, metavar="FILE", help="a line for each try; those are not repeated")
    options = parser.parse_args(arguments)
    chosen = [fault for fault in FAULTS if not options.only or fault.name in options.only]
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        for name in ("HOME", "CACHE", "CONFIG"):
            os.environ[f"GPUTRAIN_{name}"] = str(Path(folder) / name.lower())
        results = options.results or Path(folder) / "results.jsonl"
        lab = Lab(Path(folder), options.seed)
        try:
            try_all(chosen, lab, options.tries, results, quiet=options.json or options.table)
        finally:
            lab.close()
        lines = kept_lines(results)
    figures = {fault.name: _figures(fault, lines) for fault in chosen}
    if options.json:
        print(json.dumps({"figures": figures, "seed": options.seed}, indent=2))
    if options.table:
        print(table({name: of for name, of in figures.items() if of["tries"]}))
    return int(any(f["survived"] < f["tries"] or f["lost"] for f in figures.values() if f["tries"]))


def _figures(fault: Fault, lines: list[dict[str, Any]]) -> dict[str, Any]:
    own = [one for one in lines if one["fault"] == fault.name]
    if not own and (reason := fault.unavailable()):
        return {"tries": 0, "survived": 0, "lost": 0, "skipped": reason}
    return figures_of(own, fault.what)


if __name__ == "__main__":
    sys.exit(main())
