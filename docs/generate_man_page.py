"""Generate ``docs/gputrain-tui.1``, the manual page, from the parser; ``--check`` says whether it is stale.

The wheel installs it, so ``man gputrain-tui`` works where the environment's ``bin`` folder is in the PATH.
"""

from __future__ import annotations

import argparse
import os
import sys
import tomllib
from pathlib import Path

from argparse_manpage.manpage import Manpage

from gputrain.tui.cli.main import parser

FILE = Path(__file__).parent / "gputrain-tui.1"
_PROJECT = Path(__file__).parents[1] / "pyproject.toml"


def manual_page() -> str:
    """The page in roff."""
    os.environ["COLUMNS"] = "80"  # argparse wraps the usage lines at it
    top = parser()
    top.man_short_description = "launch and watch a PyTorch training run"  # type: ignore[attr-defined]
    # Not of the installed package: an editable installation keeps the version that it was installed with.
    version = tomllib.loads(_PROJECT.read_text())["project"]["version"]
    # Without a date: the page changes with the parser and the version alone.
    facts = {"date": " ", "project_name": "gputrain-tui", "version": version, "manual_title": "User Commands"}
    return str(Manpage(top, facts, format="single-commands-section"))


def main() -> int:
    """Write the page, or check it. Returns the exit code."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--check", action="store_true", help="write nothing; exit code 1 if the page is stale")
    if options.parse_args().check:
        if FILE.exists() and FILE.read_text() == manual_page():
            return 0
        print(f"{FILE.name} is stale: run python docs/generate_man_page.py", file=sys.stderr)
        return 1
    FILE.write_text(manual_page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
