"""The user's alert settings: ``alerts.yaml`` in the configuration folder, checked, with its secrets."""

from __future__ import annotations

import os
import re
import shlex
import stat
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct, field

from gputrain.engine.alerts.alert import KINDS
from gputrain.engine.common.errors import BadInput, did_you_mean
from gputrain.engine.common.files import config_home
from gputrain.engine.common.sanitize import plain
from gputrain.engine.configuration import yaml_file

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
EXAMPLE = """\
kinds: [finished, failed, died, stalled, slow]
webhooks:
  - url: ${SLACK_WEBHOOK}
    format: slack                  # json, slack, discord or ntfy
email: you@example.org             # by sendmail
command: /home/you/bin/on-alert    # gets the alert as JSON on its standard input"""
"""A file for those who have none."""
_DEFAULT_KINDS = tuple(kind for kind in KINDS if kind not in ("stopped", "recovered"))


class Webhook(Struct, frozen=True, forbid_unknown_fields=True):
    """A URL that gets each alert by POST."""

    url: str
    format: Literal["json", "slack", "discord", "ntfy"] = "json"
    headers: dict[str, str] = field(default_factory=dict)
    """Further request headers, such as Authorization."""


class AlertSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Content of ``alerts.yaml``."""

    kinds: tuple[str, ...] = _DEFAULT_KINDS
    """Kinds of alerts to send."""
    command: str | tuple[str, ...] = ()
    """Command that gets each alert as JSON on its standard input; a text is split as a shell would."""
    webhooks: tuple[Webhook, ...] = ()
    email: str = ""
    """Address for mail by sendmail."""
    slow_percent: Annotated[float, Meta(ge=0, lt=100)] = 30.0
    """Alert `slow`: how much slower than before, in percent; 0: never."""
    stalled_minutes: Annotated[float, Meta(ge=0)] = 10.0
    """Alert `stalled`: minutes without a step; 0: never."""
    disk_free_gib: Annotated[float, Meta(ge=0)] = 5.0
    """Alert `disk_full`: GiB left on the disk of the run directory; 0: never."""
    repeat_minutes: Annotated[float, Meta(ge=0)] = 60.0
    """Least minutes between two alerts of one kind for one run; those at its end always come."""

    @property
    def targets(self) -> int:
        """Number of places that get alerts."""
        return bool(self.command) + len(self.webhooks) + bool(self.email)


def settings_file() -> Path:
    """Where the settings are."""
    return config_home() / "alerts.yaml"


def read_alert_settings(path: Path | None = None) -> AlertSettings:
    """The settings; without a file those of no targets. Raises BadInput with file and line."""
    path = path or settings_file()
    if not path.exists():
        return AlertSettings()
    document = yaml_file.load(path)
    try:
        found = msgspec.convert(document.values, AlertSettings)
    except msgspec.ValidationError as error:
        raise BadInput(f"{_place(document, str(error))}: {plain(str(error), 300)}") from None
    unknown = [kind for kind in found.kinds if kind not in KINDS]
    if unknown:
        hint = did_you_mean(unknown[0], KINDS)
        raise BadInput(
            f"{document.place('kinds')}: '{plain(unknown[0], 60)}' is no kind of alert{hint}; kinds: {', '.join(KINDS)}"
        )
    if isinstance(found.command, str):
        try:
            shlex.split(found.command)
        except ValueError as error:
            raise BadInput(f"{document.place('command')}: command cannot be split into words: {error}") from None
    _refuse_readable(path, document)
    complete = msgspec.convert(_substituted(document, msgspec.to_builtins(found)), AlertSettings)
    _check_command(document, complete.command)
    if complete.email != plain(complete.email, 320) or complete.email.startswith("-"):
        raise BadInput(f"{document.place('email')}: email must be one address")
    for number, hook in enumerate(complete.webhooks, 1):
        if not hook.url.startswith(("https://", "http://")):
            raise BadInput(f"{document.place('webhooks')}: webhook {number}: url must begin with https:// or http://")
    return complete


def _place(document: yaml_file.Document, message: str) -> str:
    """The line of the key that a validation message names: ``… - at `$.webhooks[0].format```, or an unknown field."""
    found = re.search(r"`\$\.(\w+)", message) or re.search(r"unknown field `(\w+)`", message)
    return document.place(found[1]) if found else str(document.path)


def _check_command(document: yaml_file.Document, command: str | tuple[str, ...]) -> None:
    """Raises BadInput for a command that has no words, or with a quote that is not closed."""
    try:
        words = shlex.split(command) if isinstance(command, str) else command
    except ValueError as error:
        raise BadInput(f"{document.place('command')}: command: {str(error).lower()}") from None
    if command and not (words and words[0]):
        raise BadInput(f"{document.place('command')}: command must not be empty")


def _refuse_readable(path: Path, document: yaml_file.Document) -> None:
    """Raises BadInput if others can read a file that may hold secrets."""
    if document.values.get("webhooks") and stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise BadInput(f"{path}: others can read it, and addresses of webhooks are secrets; run: chmod 600 {path}")


def _substituted(document: yaml_file.Document, value: Any) -> Any:
    """`value` with each ``${NAME}`` replaced from the environment. Raises BadInput for a variable that is not set."""
    if isinstance(value, dict):
        return {key: _substituted(document, one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_substituted(document, one) for one in value]
    if not isinstance(value, str):
        return value
    for name in _VARIABLE.findall(value):
        if name not in os.environ:
            raise BadInput(f"{document.path}: ${{{name}}}: this environment variable is not set")
    return _VARIABLE.sub(lambda found: os.environ[found[1]], value)
