"""Completion of the command line in bash, zsh and fish, from the parser, by argcomplete.

The shell runs ``gputrain-tui`` with ``_ARGCOMPLETE`` in its environment at each press of the tab key. Otherwise
nothing of this is imported.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain

SHELLS = ("bash", "zsh", "fish")
Completer = Callable[..., Iterable[str]]
_NEWEST = 200
"""Most runs that are offered."""


def shell_code(shell: str) -> str:
    """What `shell` must evaluate once, so that the tab key completes ``gputrain-tui``."""
    from argcomplete.shell_integration import shellcode  # rarely needed

    return shellcode(["gputrain-tui"], shell=shell)


def complete(top: argparse.ArgumentParser) -> None:
    """Write the completions of the line that the shell gave in the environment, and end the process."""
    import argcomplete

    for command in _parsers(top):
        for action in command._actions:
            if completer := _completer(action):
                action.completer = completer  # type: ignore[attr-defined] # argcomplete's own convention
    argcomplete.autocomplete(top, validator=_begins)


def _begins(candidate: str, prefix: str) -> bool:
    return candidate.startswith(prefix)


def _parsers(top: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield top
    for action in top._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _parsers(command)


def _completer(action: argparse.Action) -> Completer | None:
    """What completes the value of an argument; None: argcomplete's own rule, which is choices, then file names."""
    known: dict[str, Completer] = {
        "RUN": _runs,
        "setting=value": _overrides,
        "CACHE": _caches,
        "--recipe": _recipes,
        "--profile": _profiles,
        "--machine": _profiles,
        "--preset": lambda **_: ("conservative", "balanced", "aggressive"),
        "--tag": _tags,
        "--state": lambda **_: _states(),
        "--sort": lambda **_: ("newest", "name", "state", "recipe", "steps", "speed", "best", "took"),
    }
    for name in (*action.option_strings, str(action.metavar)):
        if name in known:
            return known[name]
    return _settings if action.dest == "name" and action.metavar == "NAME" and not action.option_strings else None


def _runs(**_: object) -> list[str]:
    from gputrain.engine.runs import run_names
    from gputrain.engine.runs.run_directory import directories

    runs = directories()[:_NEWEST]
    named = (run_names.given_name(run.directory) for run in runs)
    # Names with characters that a shell would read are left out, since what it inserts is run by the user.
    return ["last", *(name for name in (*(run.id for run in runs), *named) if name and plain(name) == name)]


def _tags(**_: object) -> set[str]:
    from gputrain.engine.runs.run_directory import directories
    from gputrain.engine.runs.run_labels import read_marks

    return {tag for run in directories()[:_NEWEST] for tag in read_marks(run).tags}


def _states() -> list[str]:
    from gputrain.engine.runs.run_directory import State

    return [state.value for state in State]


def _recipes(**_: object) -> list[str]:
    from gputrain.profiles import catalog

    return [entry.name for entry in catalog.recipe_entries()]


def _profiles(**_: object) -> list[str]:
    from gputrain.profiles import catalog

    return [entry.name for entry in catalog.profile_entries()]


def _caches(**_: object) -> list[str]:
    from gputrain.engine.jobs import list_and_remove_caches

    return [one.id for one in list_and_remove_caches.list_caches()]


def _settings(**_: object) -> list[str]:
    from gputrain.engine.configuration import settings

    return list(settings.table())


def _overrides(prefix: str, **_: object) -> list[str]:
    """``name=`` of every setting; after the ``=`` its choices."""
    from gputrain.engine.configuration import settings

    name, equals, _value = prefix.partition("=")
    if not equals:
        return [f"{setting}=" for setting in settings.table()]
    try:
        setting = settings.find(name)
    except BadInput:
        return []
    values = ("true", "false") if setting.kind is bool else setting.choices
    return [f"{name}={value}" for value in values]
