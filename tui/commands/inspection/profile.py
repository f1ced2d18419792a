"""``gputrain-tui profile RUN``: records some steps of a running training, and prints what took the time."""

from __future__ import annotations

import argparse
import secrets

import msgspec

from gputrain.engine.common.errors import EXIT_FAILED, EXIT_FINISHED
from gputrain.engine.events import AnyEvent, Traced
from gputrain.engine.events.commands import ProfileCommand
from gputrain.engine.runs import remote_name
from gputrain.tui.commands.command_messages import fail, progress_printer
from gputrain.tui.commands.inspection.awaited_answer import answer, attached
from gputrain.tui.render.trace_text import trace_text
from gputrain.tui.state.command_sender import sender


def run(options: argparse.Namespace) -> int:
    """Returns 0 with a trace, 1 if there is none or the run cannot be reached."""
    request = secrets.token_hex(8)
    progress = progress_printer("profile")

    def find(event: AnyEvent) -> Traced | None:
        if not isinstance(event, Traced) or event.request != request:
            return None
        if event.verdict in ("recording", "waiting"):
            steps = "1 step" if options.steps == 1 else f"{options.steps} steps"
            progress(event.text or f"recording {steps}")
            return None
        return event

    try:
        source = attached(options.run)
        traced = answer(source, ProfileCommand(id=request, steps=options.steps, sender=sender()), find, None)
    except OSError as error:
        return fail(error)
    if options.json:
        print(msgspec.json.encode(traced).decode())
    elif traced.summary is None:
        return fail(f"no trace: {traced.text}")
    else:
        remote = remote_name.parse(options.run)
        print(trace_text(traced, remote.host if remote is not None else "").plain)
    return EXIT_FINISHED if traced.summary is not None else EXIT_FAILED
