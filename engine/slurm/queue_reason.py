"""Why a run does not train yet, in words. Pure."""

from __future__ import annotations

from gputrain.engine.slurm.slurm_commands import JobState

QUEUED = "queued: "
"""Begin of the text that a dashboard shows while a run waits."""


def why_waiting(number: int, state: JobState) -> str:
    """Why the run of job `number` does not train yet: ``Slurm job 17: Priority``."""
    name = f"Slurm job {number}"
    if not state.known:
        return f"{name}: unknown ({state.reason or 'Slurm has not answered yet'})"
    if state.waiting:
        return f"{name}: {state.reason or 'waiting'}"
    return f"{name} is {state.state.lower()}{f' on {state.nodes}' if state.nodes else ''}"
