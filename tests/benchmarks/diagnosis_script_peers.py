"""The verdict of traceml-ai on the same scripts under the same faults: its ``traceml run`` and the summary it writes.

The plain script has traceml's edit (`trace_step`), without which it learns nothing of a loop; into Lightning and HF
Trainer it hooks itself. It is right where its one sentence of advice names the fault among others: "Increase workers,
prefetch, or storage throughput" is right for few workers and for slow reads, and for nothing else.
"""

from __future__ import annotations

import json
import socket
import subprocess
from pathlib import Path

from diagnosis_machine import Unavailable
from diagnosis_script_cases import FAULTS, FRAMEWORKS, ScriptSetup, command
from diagnosis_script_run import under

_SECONDS = 6.0
"""Seconds of training that it analyses."""
_TIMEOUT = 180.0


def program(python: str) -> Path:
    """The ``traceml`` of the interpreter's environment."""
    return Path(python).with_name("traceml")


def verdict(python: str, framework: str, setup: ScriptSetup, folder: str) -> tuple[str, str]:
    """Its verdict and its advice. Raises Unavailable."""
    with under(setup, folder) as (images, out):
        _, script, *arguments = command(python, framework, setup, images, out, _SECONDS)
        words = [str(program(python)), "run", script, "--no-save-training-output"]
        words += ["--logs-dir", f"{out}/traceml", "--run-name", "one", "--master-port", str(_free_port())]
        words += ["--aggregator-port", str(_free_port()), "--args", *arguments]
        words += ["--traceml"] if FRAMEWORKS[framework] == FRAMEWORKS["plain"] else []
        try:
            done = subprocess.run(words, cwd=out, capture_output=True, text=True, timeout=_TIMEOUT)
            found = json.loads(Path(out, "traceml", "one", "final_summary.json").read_bytes())["primary_diagnosis"]
            return str(found["status"]), str(found["action"])
        except subprocess.TimeoutExpired:
            raise Unavailable(f"traceml did not end within {_TIMEOUT:.0f} s") from None
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise Unavailable(f"traceml gave no verdict: {error!r}; {done.stderr[-200:]}") from None


def names(action: str, fault: str) -> bool:
    """Whether its advice names the fault."""
    return any(word in action.lower() for word in FAULTS[fault].traceml)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
