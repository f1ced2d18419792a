"""Finds the repeated blocks of a network: residual blocks of a ResNet, encoder layers of a transformer."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn


def blocks_of(network: nn.Module) -> list[nn.Module]:
    """Children of nn.Sequential modules that consist of several layers, in order."""
    return list(_blocks(network))


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    for child in module.children():
        if isinstance(module, nn.Sequential) and any(True for _ in child.children()) and not _holds_blocks(child):
            yield child
        else:
            yield from _blocks(child)


def _holds_blocks(module: nn.Module) -> bool:
    """Whether it is a sequence of blocks, like layer1 of a ResNet."""
    return isinstance(module, nn.Sequential) and all(any(True for _ in part.children()) for part in module)
