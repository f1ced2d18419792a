"""Delivers an alert on this machine: to a command of the user's, and as mail by sendmail."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Sequence
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from pathlib import Path

import msgspec

from gputrain.engine.alerts.alert import Alert
from gputrain.engine.alerts.webhook import DeliveryError

COMMAND_SECONDS = 60.0
"""How long a command may take before it is killed."""
_SENDMAIL = ("/usr/sbin/sendmail", "/usr/lib/sendmail")


def command_line(command: str | Sequence[str]) -> list[str]:
    """The words of a command, a text split as a POSIX shell would. Raises ValueError for unclosed quotes."""
    return shlex.split(command) if isinstance(command, str) else list(command)


def run_command(command: str | Sequence[str], alert: Alert, seconds: float = COMMAND_SECONDS) -> None:
    """Run `command` with the alert as JSON on its standard input. Raises DeliveryError if it fails."""
    _run(command_line(command), msgspec.json.encode(alert), seconds)


def send_mail(address: str, alert: Alert, sendmail: str | None = None) -> None:
    """Mail `alert` to `address`. Raises DeliveryError if there is no sendmail or it fails."""
    program = sendmail or shutil.which("sendmail") or next((one for one in _SENDMAIL if Path(one).exists()), None)
    if program is None:
        raise DeliveryError("no sendmail on this machine; install a mailer such as msmtp-mta")
    mail = EmailMessage()
    mail["To"] = address
    mail["Subject"] = " ".join(alert.title.split())[:200]
    mail["Date"] = formatdate(alert.time, localtime=True)
    mail["Message-ID"] = make_msgid()
    mail.set_content(f"{alert.text}\n\nrun {alert.run} on {alert.host}, step {alert.step}")
    # -t: recipients from the header; -i: a line with a lone dot is no end.
    _run([program, "-t", "-i"], mail.as_bytes(), COMMAND_SECONDS)


def _run(words: list[str], given: bytes, seconds: float) -> None:
    try:
        process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        raise DeliveryError(f"cannot be started: {error.strerror}") from None
    try:
        process.communicate(given, seconds)
    except subprocess.TimeoutExpired:
        # With what it started, such as the curl of a shell script.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise DeliveryError(f"took over {seconds:.0f} s and was killed") from None
    if process.returncode:
        raise DeliveryError(f"ended with code {process.returncode}")
