"""Reads a file of weights: finds the state dict in checkpoints of torchvision, timm, Lightning; prefers EMA weights."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.training.models.unreadable_weights import cause, is_whole_model

_EMA_KEYS = ("state_dict_ema", "model_ema", "ema", "ema_state_dict", "model_ema_state_dict", "ema_model", "params_ema")
_KEYS = ("state_dict", "model", "model_state_dict", "model_state", "net", "network", "weights", "params", "module")
"""Keys of state dicts in checkpoints. EMA weights are preferred: they are what was validated."""
_DEPTH = 4
_NAMED = 5


class WeightsFile(NamedTuple):
    """Content of a file of weights."""

    tensors: dict[str, torch.Tensor]
    """The state dict, with the names of the file."""
    origin: str
    """Key of the state dict in the file, ``model_ema`` for example; empty for a plain state dict."""
    ema: bool
    settings: Mapping[str, Any]
    """Settings of the run that wrote the file as its checkpoint; empty for other files."""


def read_weights(path: Path, *, shapes_only: bool = False) -> WeightsFile:
    """The state dict in `path`. `shapes_only`: tensors on the meta device. Raises BadInput naming the remedy."""
    content = _read(path, "meta" if shapes_only else "cpu")
    if not isinstance(content, Mapping):
        raise BadInput(f"weights: {path} contains a {type(content).__name__}, not a state dict")
    tensors, keys = _state_dict(content, path)
    settings = content.get("settings")
    # Only checkpoints of this program have both.
    ours = settings if "position" in content and isinstance(settings, Mapping) else {}
    return WeightsFile(tensors, ".".join(keys), any(key in _EMA_KEYS for key in keys), ours)


def _read(path: Path, device: str) -> Any:
    if path.suffix == ".safetensors" or _is_safetensors(path):
        return _read_safetensors(path, device)
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # noqa: BLE001 - torch.load raises any error for a foreign file
        if blocked := _blocked_types(path, str(error)):
            raise BadInput(_blocked_fault(path, blocked)) from None
        raise BadInput(f"weights: {path} {cause(path) or _not_weights(error)}") from None


def _blocked_fault(path: Path, blocked: list[str]) -> str:
    more = f" and {len(blocked) - _NAMED} more" if len(blocked) > _NAMED else ""
    names = plain(", ".join(blocked[:_NAMED]) + more, 300)
    if is_whole_model(path):
        return (
            f"weights: {path} is a whole pickled model with objects of {names}, which could run code and are not "
            "loaded; if you trust the file, save its state dict alone, where its class can be imported: "
            "torch.save(torch.load(FILE, weights_only=False).state_dict(), 'weights.pth')"
        )
    return (
        f"weights: {path} contains objects of {names}, which could run code and are not loaded; "
        "if you trust the file, save its state dict alone: "
        "torch.save(torch.load(FILE, weights_only=False)['model'], 'weights.pth')"
    )


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


def _read_safetensors(path: Path, device: str) -> dict[str, torch.Tensor]:
    try:
        from safetensors.torch import load_file
    except ImportError:
        missing = "needs safetensors, which is not installed: pip install safetensors"
        raise BadInput(f"weights: {path} {cause(path) or missing}") from None
    try:
        found: dict[str, torch.Tensor] = load_file(path, device="cpu")
    except Exception as error:  # noqa: BLE001 - safetensors has error types of its own
        other = f"is not a safetensors file, or is incomplete ({plain(_first_line(error), 200)}): download it again"
        raise BadInput(f"weights: {path} {cause(path) or other}") from None
    return {name: tensor.to(device) for name, tensor in found.items()} if device == "meta" else found


def _blocked_types(path: Path, message: str) -> list[str]:
    """Types in a pickle that ``weights_only`` does not load; empty if something else is wrong with the file."""
    try:
        found = list(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception:  # noqa: BLE001 - files in torch's legacy format, and files that are none
        found = re.findall(r"(?:Unsupported global: GLOBAL|Unsupported class) (\S+)", message)
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
