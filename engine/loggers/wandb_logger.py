"""Logs to Weights & Biases: online if this machine is logged in, else to local files."""

from __future__ import annotations

import netrc
import os
from pathlib import Path
from typing import Literal

import wandb

from gputrain.engine.loggers.logged_values import Fact, Scalars, Started, Text

PROJECT = "gputrain"
"""Unless ``WANDB_PROJECT`` names another."""
_HOST = "api.wandb.ai"


def mode() -> Literal["online", "offline"] | None:
    """None if ``WANDB_MODE`` is set; else ``online`` if there is an API key, ``offline`` without one."""
    if os.environ.get("WANDB_MODE"):
        return None
    return "online" if os.environ.get("WANDB_API_KEY") or _key_in_netrc() else "offline"


def _key_in_netrc() -> bool:
    try:
        return netrc.netrc().authenticators(_HOST) is not None
    except (OSError, netrc.NetrcParseError):
        return False


class WandbLogger:
    """Writes through W&B's process into `folder`. W&B's system metrics are off: the record has its own."""

    def __init__(self, folder: Path, run_id: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=run_id,
            dir=str(folder),
            mode=mode(),
            settings=wandb.Settings(silent=True, console="off", x_disable_stats=True, disable_git=True),
        )
        for axis in ("step", "seconds"):
            self._run.define_metric(axis, hidden=True)
        for tags in ("train/*", "val/*", "epoch/*", "loader/*", "script/*"):
            self._run.define_metric(tags, step_metric="step")
        for tags in ("system/*", "gpu*"):
            self._run.define_metric(tags, step_metric="seconds")
        files = Path(self._run.dir).parent
        self.hint = f"wandb sync {files}" if self._run.offline else str(self._run.url or files)
        """How to view the result: a URL, or the command that uploads it."""

    def take(self, fact: Fact) -> None:
        """Log one fact."""
        match fact:
            case Scalars():
                self._run.log({**fact.values, "step": fact.step, "seconds": fact.seconds, "_timestamp": fact.wall})
            case Text():
                self._run.log({fact.tag: wandb.Html(_page(fact.text)), "step": fact.step, "_timestamp": fact.wall})
            case Started():
                self._run.config.update(dict(fact.settings), allow_val_change=True)
            case _:
                pass

    def flush(self) -> None:
        """Nothing: W&B's process writes by itself."""

    def close(self, exit_code: int) -> None:
        """Finish the W&B run with `exit_code`."""
        self._run.finish(exit_code=exit_code)


def _page(text: str) -> str:
    """Text as an HTML page, escaped: it comes from files and processes."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return f"<pre>{escaped}</pre>"
