"""Clip network: an encoder and a ConvLSTM for each stream of frames, late fusion, and a classifier."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from gputrain.engine.common.errors import BadInput
from gputrain.engine.training.networks.simple_cnn import SimpleCNN

_HIDDEN = 128
"""Channels of the ConvLSTM's hidden state."""
_FUSED = 256
_DROPOUT = 0.3


class ConvLstm(nn.Module):
    """A ConvLSTM layer (Shi et al. 2015, arXiv:1506.04214) without peepholes.

    Input (N, T, channels, h, w), output the hidden state after the last frame: (N, hidden, h, w).
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.gates = nn.Conv2d(channels + hidden, 4 * hidden, 3, padding=1)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """The hidden state after all frames, (N, hidden, h, w)."""
        count, _, _, height, width = frames.shape
        state = cell = frames.new_zeros(count, self.hidden, height, width)
        for frame in frames.unbind(1):
            input_gate, forget, output, new = self.gates(torch.cat((frame, state), 1)).chunk(4, 1)
            cell = forget.sigmoid() * cell + input_gate.sigmoid() * new.tanh()
            state = output.sigmoid() * cell.tanh()
        return state


class Stream(nn.Module):
    """One stream: an encoder for each frame, then a ConvLSTM over the frames."""

    def __init__(self, encoder: nn.Module, channels: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.reduce = nn.Sequential(
            nn.Conv2d(channels, _HIDDEN, 1, bias=False), nn.BatchNorm2d(_HIDDEN), nn.ReLU(inplace=True)
        )
        self.memory = ConvLstm(_HIDDEN, _HIDDEN)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """(N, T, 3, H, W) → (N, hidden)."""
        maps = self.reduce(self.encoder(frames.flatten(0, 1)))
        summary: torch.Tensor = self.memory(maps.unflatten(0, frames.shape[:2])).mean(dim=(2, 3))
        return summary


class ClipNetwork(nn.Module):
    """Input (N, streams × T, 3, H, W), stream after stream; output (N, outputs)."""

    def __init__(self, networks: Sequence[nn.Module], outputs: int) -> None:
        """`networks`: one image classifier per stream, whose features are the encoder. Raises BadInput."""
        super().__init__()
        encoders = [encoder_of(network) for network in networks]
        self.streams = nn.ModuleList(Stream(encoder, _channels(encoder)) for encoder in encoders)
        self.fusion = nn.Sequential(
            nn.Linear(_HIDDEN * len(encoders), _FUSED), nn.ReLU(inplace=True), nn.Dropout(_DROPOUT)
        )
        self.head = nn.Linear(_FUSED, outputs)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Scores, (N, outputs)."""
        parts = images.chunk(len(self.streams), dim=1)
        summaries = [stream(part) for stream, part in zip(self.streams, parts, strict=True)]
        scores: torch.Tensor = self.head(self.fusion(torch.cat(summaries, 1)))
        return scores


def encoder_of(network: nn.Module) -> nn.Module:
    """The part of an image classifier that returns feature maps (N, C, h, w). Raises BadInput if it has none."""
    if isinstance(network, SimpleCNN):
        return nn.Sequential(network.stem, network.stages)
    from torchvision.models.resnet import ResNet

    if isinstance(network, ResNet):
        return nn.Sequential(*list(network.children())[:-2])
    features = getattr(network, "features", None)
    if not isinstance(features, nn.Module):
        raise BadInput(
            f"model: {type(network).__name__} has no feature maps for the frames of a clip; "
            "use an EfficientNet, MobileNet, ConvNeXt, DenseNet, ResNet or simple_cnn"
        )
    return features


def _channels(encoder: nn.Module) -> int:
    """Channels of the feature maps, found by a forward pass on the meta device."""
    weights = next(encoder.parameters())
    with torch.device("meta"), torch.no_grad():
        frames = torch.empty(2, 3, 64, 64, dtype=weights.dtype)
        maps = torch.func.functional_call(encoder, _on_meta(encoder), (frames,))
    if maps.ndim != 4:
        raise BadInput(f"model: returns {tuple(maps.shape)}, a clip needs feature maps (N, C, h, w)")
    return int(maps.shape[1])


def _on_meta(network: nn.Module) -> dict[str, torch.Tensor]:
    tensors = [*network.named_parameters(), *network.named_buffers()]
    return {name: torch.empty_like(tensor, device="meta") for name, tensor in tensors}
