"""Advice in the words of a user's own script: the arguments of its DataLoader and the line where it was made. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from msgspec.structs import replace

from gputrain.engine.diagnosis.tree_nodes import Fix

SCRIPT = "script"
FILE_BYTES = 512
"""Bytes of a sample below which it is not read from a file."""
_ARGUMENTS = ("num_workers", "prefetch_factor", "persistent_workers", "pin_memory")
_HF_TRAINER = {
    "num_workers": "dataloader_num_workers",
    "prefetch_factor": "dataloader_prefetch_factor",
    "persistent_workers": "dataloader_persistent_workers",
    "pin_memory": "dataloader_pin_memory",
}
_OTHERS = {
    "cache": "Make a sample cheaper: keep decoded and resized images on disk or in memory instead of the originals.",
    "batch_size": "Train on larger batches, with a learning rate that goes with them.",
    "precision": "Compute in mixed precision: torch.autocast with bfloat16, or float16 with a GradScaler.",
    "compile": "Compile the model: torch.compile(model).",
    "channels_last": "Use channels_last: model.to(memory_format=torch.channels_last), and the same for the images.",
    "async_checkpoints": "Save checkpoints less often, or from a copy on a thread.",
}


def is_script(settings: Mapping[str, Any]) -> bool:
    """Whether the run is a script of the user's own."""
    return settings.get("engine") == SCRIPT


def in_script_words(fix: Fix, settings: Mapping[str, Any]) -> Fix:
    """The same advice for a script: its own arguments, and only changes that a running script can take."""
    changes = {name: value for name, value in fix.changes.items() if name in _ARGUMENTS}
    if changes:
        # Another number of workers gives an IterableDataset other samples: that is for the user to decide.
        can = not settings.get("loader_iterable") or "num_workers" not in changes
        return Fix(_loader_action(changes, settings) + (_not_the_same(settings) if can else ""), changes if can else {})
    action = next((text for name, text in _OTHERS.items() if name in fix.changes), fix.action)
    return replace(fix, action=action, changes={})


def script_title(cause: str, title: str, bytes_per_sample: float | None) -> str:
    """The title of a cause for a script, of whose workers only the waiting is known and not for what."""
    if cause == "no-workers":
        return "No data workers: the training loop makes the batches itself"
    if cause == "disk" and bytes_per_sample is not None and bytes_per_sample < FILE_BYTES:
        return "The data set waits, but not for files, a core or a lock"
    return title


def _loader_action(changes: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    values = dict(changes)
    if values.get("num_workers", 0) and not settings.get("persistent_workers"):
        # Workers that are made anew for each pass cost its first batch.
        values.setdefault("persistent_workers", True)
    plainly = f"DataLoader({_arguments(values)}){_place(settings)}."
    match str(settings.get("loader_framework", "")):
        case "transformers":
            named = {_HF_TRAINER[name]: value for name, value in values.items()}
            return f"Set {_arguments(named)} in the TrainingArguments."
        case "ultralytics":
            return _of_ultralytics(values, settings)
        case "timm":
            flag = f"; timm's train.py: --workers {values['num_workers']}" if "num_workers" in values else ""
            return f"create_loader({_arguments(values)}){_place(settings)}{flag}."
        case "keras":
            workers = values.get("num_workers", 2)
            return f"Give fit() a torch DataLoader({_arguments(values)}), or a PyDataset(workers={workers})."
        case "":
            return plainly
        case package:
            return f"{plainly} {package} makes this loader: look for the same arguments there."


def _of_ultralytics(values: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    if "num_workers" not in values:
        return f"ultralytics has no argument for {_arguments(values)}."
    if not settings.get("num_workers") and not str(settings.get("script_device", "")).startswith("cuda"):
        return (
            "ultralytics uses no data workers on the CPU: it ignores workers= there. "
            "Train on a GPU, or on smaller or cached images (cache=True)."
        )
    return f"Set workers={values['num_workers']} in train()."


def _arguments(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items())


def _not_the_same(settings: Mapping[str, Any]) -> str:
    """What of the running training such a change would not leave as it is; empty if all stays the same."""
    if not settings.get("loader_order_kept", True):
        return " Changed in this run, the order of the samples may be another: the sampler may draw while it is read."
    if settings.get("loader_draws"):
        later = "" if settings.get("num_workers") else ", and later epochs may have another order"
        return f" Changed in this run, each sample comes as before, but augmented by other random numbers{later}."
    return ""


def _place(settings: Mapping[str, Any]) -> str:
    file, line = str(settings.get("loader_file", "")), settings.get("loader_line", 0)
    return f" at {PurePath(file).name}:{line}" if file and line else ""
