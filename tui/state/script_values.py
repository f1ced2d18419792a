"""What is shown of a training script of the user's own: its command, loader and optimizer, what it logs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from gputrain.tui.render import format as fmt
from gputrain.tui.state.run_snapshot import Snapshot

_LOSS_NAMES = ("train/loss", "train_loss", "loss/train", "training_loss", "loss")
_HELD_OUT = ("val", "eval", "test")
_COUNTERS = ("epoch", "step", "global_step", "lr", "learning_rate", "train/lr", "train/learning_rate")
"""Logged along with the metrics; never the metric that one looks for."""
CURVE = "scalar "
"""The key of a scalar's curve begins with this."""


def is_script(settings: Mapping[str, Any]) -> bool:
    """Whether these are the settings of a script of the user's own."""
    return settings.get("engine") == "script"


def key_values(now: Snapshot) -> list[tuple[str, str]]:
    """Titles and values of the run panel, most important first; empty values are unknown."""
    loader, model, skipped = now.loader_found, now.script_model, now.totals.skipped
    return [
        ("command", short_command(str(now.settings.get("command", "")))),
        ("loss", fmt.figure(now.loss) if now.loss is not None else ""),
        ("elapsed", fmt.duration(now.elapsed)),
        ("epoch in", fmt.duration(now.eta_epoch) if now.eta_epoch is not None else ""),
        ("loader", loader_words(now)),
        ("made at", f"{PurePath(loader.file).name}:{loader.line}" if loader is not None and loader.file else ""),
        ("optimizer", f"{model.optimizer}, {fmt.whole(model.parameters)} parameters" if model is not None else ""),
        ("device", f"{model.device}, {model.dtype}, torch {model.torch_version}" if model is not None else ""),
        ("lr", fmt.figure(now.steps.lr) if now.steps and model is not None else ""),
        ("skipped", f"{fmt.whole(skipped)} updates: inf or NaN gradients" if skipped else ""),
        ("validation", _validation(now)),
        ("folder", str(now.settings.get("folder", ""))),
        ("run", now.started.run_id if now.started else ""),
    ]


def short_command(command: str) -> str:
    """A command line whose program has no path: ``python my_train.py``."""
    program, rest = command.partition(" ")[::2]
    return command if "'" in program else f"{PurePath(program).name} {rest}".strip()


def _validation(now: Snapshot) -> str:
    """How much was validated; it is in no step and in no throughput."""
    steps = now.steps
    if steps is None or not steps.validation_batches:
        return ""
    return f"{fmt.whole(steps.validation_batches)} batches in {fmt.duration(steps.validation_seconds)}, in no step"


def arguments(now: Snapshot) -> dict[str, Any]:
    """What two scripts can differ in, as far as it was seen: command, folder, DataLoader, optimizer and device."""
    found: dict[str, Any] = {
        "command": short_command(str(now.settings.get("command", ""))),
        "folder": now.settings.get("folder"),
    }
    if (loader := now.loader_found) is not None:
        names = ("num_workers", "prefetch_factor", "persistent_workers", "pin_memory", "batch_size")
        found |= {name: getattr(loader, name) for name in names}
    if (model := now.script_model) is not None:
        found |= {name: getattr(model, name) for name in ("optimizer", "parameters", "device", "dtype", "ranks")}
        found["torch"] = model.torch_version
    return found


def loader_words(now: Snapshot) -> str:
    """The arguments of the DataLoader as it is now; the word for its absence once there are steps."""
    loader = now.loader_found
    if loader is None:
        return "none: data wait unknown" if now.steps is not None else ""
    words = [f"num_workers={loader.num_workers}"]
    if loader.num_workers and loader.prefetch_factor is not None:
        words.append(f"prefetch_factor={loader.prefetch_factor}")
    if loader.batch_size is not None:
        words.append(f"batch_size={loader.batch_size}")
    words += [name for name, on in (("persistent", loader.persistent_workers), ("pinned", loader.pin_memory)) if on]
    return ", ".join(words)


def progress(now: Snapshot) -> str:
    """``step 1 234, batch 12/6 250``: the batch of the present pass over the loader where there is one."""
    steps = now.steps
    if steps is None:
        return ""
    words = f"step {fmt.whole(steps.step)}"
    if not epoch_words(now) or not steps.epoch_step:
        return words
    batches = batches_of_epoch(now)
    if batches is None:
        return f"{words}, batch {fmt.whole(steps.epoch_step)}"
    total = fmt.whole(batches)
    return f"{words}, batch {fmt.whole(steps.epoch_step).rjust(len(total))}/{total}"


def epoch_words(now: Snapshot) -> str:
    """``epoch 3``; empty where no DataLoader is read and no framework counts epochs."""
    known = now.loader_found is not None or batches_of_epoch(now) is not None
    return f"epoch {now.steps.epoch + 1}" if now.steps is not None and known else ""


def batches_of_epoch(now: Snapshot) -> int | None:
    """Batches of an epoch as the framework says, else as the loader's length; None: unknown."""
    if now.steps is not None and now.steps.epoch_batches is not None:
        return now.steps.epoch_batches
    return now.loader_found.batches if now.loader_found is not None else None


def epoch_fraction(now: Snapshot) -> float | None:
    """Progress of the pass over the training loader, 0…1; None where its length is unknown."""
    batches = batches_of_epoch(now)
    return min(1.0, now.steps.epoch_step / batches) if now.steps is not None and batches else None


def loss_curve(now: Snapshot) -> str:
    """The key of the loss curve: the loss that the script logs; else the one that its backward pass began with."""
    logged = next((name for name in _LOSS_NAMES if name in now.scalars), "")
    return CURVE + logged if logged else "loss"


def main_scalar(now: Snapshot) -> str:
    """The logged scalar that is drawn: one of held-out data if there is one; empty without any."""
    names = [name for name in now.scalars if name.lower() not in _COUNTERS and name not in _LOSS_NAMES]
    held_out = (name for name in names if any(part in name.lower() for part in _HELD_OUT))
    return next(held_out, names[0] if names else "")
