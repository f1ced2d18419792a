"""The stacks of a run's processes as text: the line that most share first, then each different stack once."""

from __future__ import annotations

from rich.text import Text

from gputrain.engine.common.sanitize import plain
from gputrain.engine.events import SharedStack, StacksTaken


def stacks_line(taken: StacksTaken) -> str:
    """The answer in one line, for logs."""
    if taken.text or not taken.line:
        return f"stacks: {plain(taken.text, 300) or 'no Python thread answered'}"
    return f"stacks: {_seen(taken)}: {plain(taken.line, 300)}"


def _seen(taken: StacksTaken) -> str:
    answered = sum(1 for one in taken.processes if not one.missing)
    return f"{taken.share} of {answered} process{'es' if answered > 1 else ''}"


def stacks_text(taken: StacksTaken) -> Text:
    """The whole answer."""
    text = Text()
    if taken.text:
        return text.append(plain(taken.text, 400))
    if taken.line:
        text.append(f"{_seen(taken)}: ", style="bold").append(f"{plain(taken.line, 300)}\n\n")
    width = max(len(one.role) for one in taken.processes)
    for one in taken.processes:
        threads = "1 thread" if one.threads == 1 else f"{one.threads} threads"
        where = one.missing or f"{plain(one.at, 300)}  ({threads})"
        text.append(f"{plain(one.role, 40):<{width}} {one.pid:>8}  ", style="bold").append(f"{plain(where, 400)}\n")
    for stack in taken.stacks:
        text.append("\n").append_text(_stack(stack))
    if taken.left_out:
        text.append(f"\n{taken.left_out} more different stacks are left out\n", style="dim")
    text.rstrip()
    return text


def _stack(stack: SharedStack) -> Text:
    count = "1 thread" if stack.count == 1 else f"{stack.count} threads"
    more = f" and {stack.count - len(stack.threads)} more" if stack.count > len(stack.threads) else ""
    text = Text(f"{count}: ", style="bold")
    text.append(f"{plain('; '.join(stack.threads), 2000)}{more}\n", style="bold")
    for frame in stack.frames or ("no Python code",):
        text.append(f"  {plain(frame, 300)}\n")
    return text
