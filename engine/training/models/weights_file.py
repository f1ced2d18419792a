"""Reads a file of weights: finds the state dict in checkpoints of torchvision, timm, Lightning; prefers EMA weights."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.training.distributed import shard_folder
from gputrain.engine.training.models.unreadable_weights import blocked, cause

_EMA_KEYS = ("state_dict_ema", "model_ema", "ema", "ema_state_dict", "model_ema_state_dict", "ema_model", "params_ema")
_KEYS = ("state_dict", "model", "model_state_dict", "model_state", "net", "network", "weights", "params", "module")
"""Keys of state dicts in checkpoints. EMA weights are preferred: they are what was validated."""
_DEPTH = 4
_HARMLESS: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [argparse.Namespace]
"""Types without code of their own that are loaded too: arguments of training scripts, as timm saves them."""


class WeightsFile(NamedTuple):
    """Content of a file of weights."""

    tensors: dict[str, torch.Tensor]
    """The state dict, with the names of the file."""
    origin: str
    """Key of the state dict in the file, ``model_ema`` for example; empty for a plain state dict."""
    ema: bool
    settings: Mapping[str, Any]
    """Settings of the run that wrote the file as its checkpoint; empty for other files."""
    form: str
    """The kind of file, for display."""
    arguments: Mapping[str, Any]
    """Arguments of timm's training script in its checkpoint; empty for other files."""
    metadata: Mapping[str, str]
    """Metadata of a safetensors file."""


def read_weights(path: Path, *, shapes_only: bool = False) -> WeightsFile:
    """The state dict in `path`. `shapes_only`: tensors on the meta device. Raises BadInput naming the remedy."""
    device = "meta" if shapes_only else "cpu"
    if path.suffix == ".safetensors" or _is_safetensors(path):
        tensors, metadata = _read_safetensors(path, device)
        # The format has no nesting.
        found, keys = _state_dict(tensors, path)
        return WeightsFile(found, ".".join(keys), False, {}, "safetensors", {}, metadata)
    content = _read_torch(path, device)
    if not isinstance(content, Mapping):
        raise BadInput(f"weights: {path} contains a {type(content).__name__}, not a state dict")
    if "position" in content and (folder := shard_folder.folder_of(dict(content), path)) is not None:
        from gputrain.engine.training.distributed import checkpoint_shards  # no other checkpoint waits for it

        content = checkpoint_shards.with_tensors(dict(content), folder, device)
    tensors, keys = _state_dict(content, path)
    settings, arguments = content.get("settings"), content.get("args")
    # Only checkpoints of this program have both.
    ours = settings if "position" in content and isinstance(settings, Mapping) else {}
    if isinstance(arguments, argparse.Namespace):
        arguments = vars(arguments)
    return WeightsFile(
        tensors=tensors,
        origin=".".join(keys),
        ema=any(key in _EMA_KEYS for key in keys),
        settings=ours,
        form="checkpoint of a run" if ours else "torch file",
        arguments=arguments if isinstance(arguments, Mapping) else {},
        metadata={},
    )


def _read_torch(path: Path, device: str) -> Any:
    try:
        with torch.serialization.safe_globals(_HARMLESS):
            return torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # noqa: BLE001 - torch.load raises any error for a foreign file
        if types := _blocked_types(path, str(error)):
            raise BadInput(f"weights: {path} {blocked(path, types, (*_EMA_KEYS, *_KEYS))}") from None
        raise BadInput(f"weights: {path} {cause(path) or _not_weights(error)}") from None


def _not_weights(error: Exception) -> str:
    if isinstance(error, EOFError) or "EOF" in str(error) or "truncated" in str(error):
        return "is incomplete, the end of the file is missing: download it again"
    # Of a foreign file torch's text is internal, or advises weights_only=False, which runs the code in the file.
    if not isinstance(error, OSError | MemoryError | RuntimeError) or "weights_only" in str(error):
        return "is not a file of weights: give one written by torch.save(model.state_dict(), FILE) or by safetensors"
    return f"is not a file of weights: {plain(_first_line(error), 200)}"


def _is_safetensors(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError:
        return False
    return len(start) == 9 and start[8:9] == b"{" and 2 <= int.from_bytes(start[:8], "little") <= path.stat().st_size


def _read_safetensors(path: Path, device: str) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    try:
        from safetensors import safe_open
    except ImportError:
        missing = "needs safetensors, which is not installed: pip install safetensors"
        raise BadInput(f"weights: {path} {cause(path) or missing}") from None
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            # One tensor in memory at a time if only shapes are wanted.
            found = {name: file.get_tensor(name).to(device) for name in file.keys()}  # noqa: SIM118
            return found, dict(file.metadata() or {})
    except Exception as error:  # noqa: BLE001 - safetensors has error types of its own
        other = f"is not a safetensors file, or is incomplete ({plain(_first_line(error), 200)}): download it again"
        raise BadInput(f"weights: {path} {cause(path) or other}") from None


def _blocked_types(path: Path, message: str) -> list[str]:
    """Types in a pickle that ``weights_only`` does not load; empty if something else is wrong with the file."""
    try:
        with torch.serialization.safe_globals(_HARMLESS):
            found = list(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception:  # noqa: BLE001 - files in torch's legacy format, and files that are none
        found = re.findall(r"(?:Unsupported global: GLOBAL|Unsupported class|unsupported GLOBAL) (\S+)", message)
    return sorted(set(found))


def _state_dict(content: Mapping[Any, Any], path: Path) -> tuple[dict[str, torch.Tensor], tuple[str, ...]]:
    keys: tuple[str, ...] = ()
    for _ in range(_DEPTH):
        key = next((k for k in (*_EMA_KEYS, *_KEYS) if isinstance(content.get(k), Mapping) and content[k]), None)
        if key is None:
            break
        content, keys = content[key], (*keys, key)
    tensors = {str(name): value for name, value in content.items() if isinstance(value, torch.Tensor)}
    if tensors:
        return tensors, keys
    inner = {str(key): value for key, value in content.items() if isinstance(value, Mapping) and _has_tensors(value)}
    if len(inner) > 1:
        names = ", ".join(plain(name, 40) for name in inner)
        raise BadInput(
            f"weights: {path} contains several state dicts ({names}); save the one you want alone: "
            f"torch.save(torch.load(FILE)['{plain(next(iter(inner)), 40)}'], 'weights.pth')"
        )
    if not inner:
        raise BadInput(f"weights: {path} contains no state dict: no tensors by name")
    ((key, found),) = inner.items()
    return {str(name): value for name, value in found.items() if isinstance(value, torch.Tensor)}, (*keys, key)


def _has_tensors(value: Mapping[Any, Any]) -> bool:
    return any(isinstance(one, torch.Tensor) and isinstance(name, str) for name, one in value.items())


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
