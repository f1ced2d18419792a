"""``gputrain-tui stacks RUN``: prints what all threads of a running run do now."""

from __future__ import annotations

import argparse
import secrets

import msgspec

from gputrain.engine.common.errors import EXIT_FAILED, EXIT_FINISHED
from gputrain.engine.events import AnyEvent, StacksTaken
from gputrain.engine.events.commands import StacksCommand
from gputrain.tui.commands.command_messages import fail
from gputrain.tui.commands.inspection.awaited_answer import answer, attached
from gputrain.tui.render.stacks_text import stacks_text
from gputrain.tui.state.command_sender import sender

ANSWER_SECONDS = 60.0


def run(options: argparse.Namespace) -> int:
    """Returns 0 with stacks, 1 if there are none or the run cannot be reached."""
    request = secrets.token_hex(8)

    def find(event: AnyEvent) -> StacksTaken | None:
        return event if isinstance(event, StacksTaken) and event.request == request else None

    try:
        source = attached(options.run)
        taken = answer(source, StacksCommand(id=request, sender=sender()), find, ANSWER_SECONDS)
    except OSError as error:
        return fail(error)
    if options.json:
        print(msgspec.json.encode(taken).decode())
    else:
        print(stacks_text(taken).plain)
    return EXIT_FINISHED if taken.stacks else EXIT_FAILED
