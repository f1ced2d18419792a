"""ONNX export of a trained network in float32 and int8, and a comparison of the exported graphs with the network.

The graph takes uint8 RGB pixels and returns the network's outputs; normalisation is part of it.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
from onnxruntime import quantization
from torch import nn

from gputrain.engine.common.sanitize import plain
from gputrain.engine.configuration import normalization, settings
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.datasets.image_set import ImageSet
from gputrain.engine.jobs.onnx_export_job import OnnxForm
from gputrain.engine.training.loader.make_loader import make_loader
from gputrain.engine.training.readers.reader import OpenedDataset
from gputrain.engine.training.tasks.classification import Classification

INPUT, OUTPUT = "images", "outputs"
_EXAMPLE_SAMPLES = 2

Pixels = npt.NDArray[np.uint8]
Labelled = tuple[Pixels, torch.Tensor]
"""uint8 (N, 3, H, W), or (N, group, 3, H, W), and the loader's labels."""


class ExportedNetwork(nn.Module):
    """A network with normalisation in front: takes uint8 (N, 3, H, W) or (N, group, 3, H, W)."""

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, network: nn.Module, config: RunConfig) -> None:
        super().__init__()
        self.network = network
        mean, std = normalization.mean_std(config.data)
        self.register_buffer("mean", (torch.tensor(mean) * 255).view(3, 1, 1))
        self.register_buffer("scale", (1 / (torch.tensor(std) * 255)).view(3, 1, 1))
        self.eval()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """The network's outputs, float32."""
        outputs: torch.Tensor = self.network((images.to(torch.float32) - self.mean) * self.scale)
        return outputs


def write(network: ExportedNetwork, data: OpenedDataset, config: RunConfig, path: Path) -> Path:
    """Write the graph with a dynamic batch size; returns `path`. Raises RuntimeError if torch.onnx fails."""
    size, group = config.data.image_size, data.task.group
    shape = (_EXAMPLE_SAMPLES, 3, size, size) if group == 1 else (_EXAMPLE_SAMPLES, group, 3, size, size)
    example = torch.zeros(shape, dtype=torch.uint8)
    samples = torch.export.Dim("samples", min=1)
    try:
        # The exporter prints its progress.
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            logging.getLogger("torch.onnx").setLevel(logging.ERROR)
            program = torch.onnx.export(
                network,
                (example,),
                dynamo=True,
                dynamic_shapes=({0: samples},),
                input_names=[INPUT],
                output_names=[OUTPUT],
                verbose=False,
            )
        assert program is not None
        program.save(path, external_data=False)
    except Exception as error:  # noqa: BLE001 - the exporter raises errors of many types
        raise RuntimeError(f"torch.onnx cannot write this network: {_first_line(error)}") from None
    _describe(path, data, config)
    return path


def _describe(path: Path, data: OpenedDataset, config: RunConfig) -> None:
    """Write classes, image size and preprocessing into the file's metadata."""
    graph = onnx.load(path)
    mean, std = normalization.mean_std(config.data)
    onnx.helper.set_model_props(
        graph,
        {
            "classes": json.dumps(list(data.train.classes)),
            "image_size": str(config.data.image_size),
            "resize_short_side": str(config.data.val_resize),
            "crop_mode": config.data.crop_mode,
            "interpolation": f"{normalization.interpolation_of(config.data)}, antialiased",
            "pixels": "uint8 RGB 0-255; normalisation is in the graph",
            "mean": normalization.text_of(mean),
            "std": normalization.text_of(std),
            "model": config.model.model,
            "recipe": config.recipe,
        },
    )
    onnx.save(graph, path)


def quantize(path: Path, target: Path, examples: Iterator[Labelled]) -> Path:
    """Quantize the graph in `path` to int8, calibrated on `examples`; returns `target`.

    Static quantization in QDQ format, weights per channel. Raises RuntimeError.
    """
    prepared = target.with_suffix(".prepared.onnx")
    try:
        quantization.quant_pre_process(str(path), str(prepared))
        quantization.quantize_static(
            str(prepared),
            str(target),
            _Examples(examples),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
    except Exception as error:  # noqa: BLE001 - as above
        raise RuntimeError(f"the network cannot be quantized: {_first_line(error)}") from None
    return target


class _Examples(quantization.CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, batches: Iterator[Labelled]) -> None:
        self._batches = batches

    def get_next(self) -> dict[str, Pixels] | None:
        """The next batch by the name of the input; None at the end."""
        batch = next(self._batches, None)
        return None if batch is None else {INPUT: batch[0]}


def batches(images: ImageSet, config: RunConfig, samples: int, *, train: bool) -> Iterator[Labelled]:
    """Batches of at most `samples` samples in all, with the transforms of training or validation."""
    left, group = samples, images.group
    small = settings.replace(config, batch_size=min(config.data.batch_size, 32), val_batch_size=0, pin_memory=False)
    with closing(make_loader(images, small, train=train, pin=False)) as loader:
        for batch in loader.epoch(0):
            count = min(left, len(batch.labels) // group)
            pixels = batch.images[: count * group].contiguous()
            if group > 1:
                pixels = pixels.unflatten(0, (-1, group))
            yield pixels.numpy().copy(), batch.labels[: count * group].clone()
            left -= count
            if not left:
                return


def compare_forms(
    network: ExportedNetwork, files: Mapping[str, Path], data: OpenedDataset, config: RunConfig, samples: int
) -> tuple[tuple[OnnxForm, ...], int]:
    """Compare the network and the graphs in `files` on validation samples; also returns the number of samples."""
    examples = list(batches(data.val, config, samples, train=False)) if data.val is not None else []
    with torch.inference_mode():
        own, seconds = _outputs(lambda pixels: network(torch.from_numpy(pixels)).numpy(), examples)
    count = sum(map(len, own))
    forms = [_form("PyTorch, float32", None, own, own, examples, seconds, data)]
    for name, path in files.items():
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        outputs, seconds = _outputs(lambda pixels, s=session: s.run([OUTPUT], {INPUT: pixels})[0], examples)
        forms.append(_form(name, path, outputs, own, examples, seconds, data))
    return tuple(forms), count


Outputs = list[npt.NDArray[np.float32]]


def _outputs(run: Callable[..., npt.NDArray[np.float32]], examples: list[Labelled]) -> tuple[Outputs, float]:
    """Outputs for each batch, and seconds without one warm-up run."""
    if examples:
        run(examples[0][0])
    began = time.perf_counter()
    return [run(pixels) for pixels, _ in examples], time.perf_counter() - began


def _form(
    name: str,
    path: Path | None,
    outputs: Outputs,
    own: Outputs,
    examples: list[Labelled],
    seconds: float,
    data: OpenedDataset,
) -> OnnxForm:
    length = path.stat().st_size if path is not None else None
    if not examples:
        return OnnxForm(
            name=name, bytes=length, samples_per_second=None, metrics={}, largest_difference=None, agrees=None
        )
    scores = data.task.scores()
    for one, (_, labels) in zip(outputs, examples, strict=True):
        scores.add(torch.from_numpy(one), data.task.targets(labels, None))
    exported, original = np.concatenate(outputs), np.concatenate(own)
    classes = isinstance(data.task, Classification)
    return OnnxForm(
        name=name,
        bytes=length,
        samples_per_second=len(exported) / seconds,
        metrics=scores.metrics(),
        largest_difference=None if path is None else float(np.abs(exported - original).max()),
        agrees=float((exported.argmax(1) == original.argmax(1)).mean()) if classes and path is not None else None,
    )


def _first_line(error: Any) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return plain(f"{type(error).__name__}: {lines[0] if lines else ''}", 300)
