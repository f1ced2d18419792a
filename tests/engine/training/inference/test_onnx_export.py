"""ONNX export: ONNX Runtime on raw pixels against the network itself."""

from __future__ import annotations

import csv
import importlib.util
import json
import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from fakes.images import dark_and_light
from helpers.training.training_tools import CLASSES, draw_images, small_config, train
from PIL import Image

from gputrain.engine.checkpointing import checkpoint_index
from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration import settings
from gputrain.engine.configuration.normalization import IMAGENET_MEAN as MEAN
from gputrain.engine.configuration.normalization import IMAGENET_STD as STD
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.jobs.onnx_export_job import Exported, OnnxOrder, export_onnx
from gputrain.engine.jobs.predict_job import PredictOrder
from gputrain.engine.processes.event_reporter import EventReporter
from gputrain.engine.processes.trainer_control import TrainerControl
from gputrain.engine.runs import run_directory
from gputrain.engine.training.inference import onnx_child, predict_child
from gputrain.engine.training.networks.simple_cnn import SimpleCNN
from gputrain.engine.training.transforms.decode import decode
from gputrain.tui.cli import main


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_images(tmp_path_factory.mktemp("images"), side=32)


@pytest.fixture(scope="module")
def trained(images: Path, tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    directory = tmp_path_factory.mktemp("run")
    config = small_config(images, val_resize=32, epochs=3)
    train(directory, config)
    folder = directory / "checkpoints"
    return settings.replace(config, resume_from=str(folder / checkpoint_index.find(folder, "best").file))


def exported(config: RunConfig, file: Path, **others: Any) -> Exported:
    context = multiprocessing.get_context("spawn")
    outbox, (inbox, _other) = context.Queue(), context.Pipe(duplex=False)
    reporter = EventReporter(outbox)
    order = OnnxOrder(config=config, file=str(file), **others)
    made = onnx_child._work(order, reporter, TrainerControl(inbox, reporter), lambda text: None)
    outbox.cancel_join_thread()
    return made


def test_onnx_outputs_equal_the_networks_outputs(trained: RunConfig, images: Path, tmp_path: Path) -> None:
    file = tmp_path / "net.onnx"
    made = exported(trained, file)
    own, graph = made.forms
    assert graph.agrees == 1.0
    assert graph.metrics["accuracy"] == own.metrics["accuracy"]
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]
    paths = sorted((images / "val").glob("*/*.jpg"))
    assert made.samples == len(paths)
    pixels = np.stack([decode(path.read_bytes(), str(path)) for path in paths]).transpose(0, 3, 1, 2)
    network = SimpleCNN(len(CLASSES), 8)
    network.load_state_dict(torch.load(trained.resume_from, weights_only=True)["model"])
    mean, std = (np.array(values).reshape(3, 1, 1) for values in (MEAN, STD))
    with torch.inference_mode():
        expected = network.eval()(torch.from_numpy((pixels / 255 - mean) / std).float()).numpy()
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    assert np.allclose(session.run(None, {"images": pixels})[0], expected, atol=1e-4)
    # Dynamic batch size; the metadata have the classes.
    assert session.run(None, {"images": pixels[:1]})[0].shape == (1, len(CLASSES))
    told = {entry.key: entry.value for entry in onnx.load(file).metadata_props}
    assert json.loads(told["classes"]) == list(CLASSES)
    assert told["image_size"] == "32"


def test_int8_is_smaller_and_nearly_equal(trained: RunConfig, tmp_path: Path) -> None:
    made = exported(trained, tmp_path / "net.onnx", int8=True)
    _, graph, small = made.forms
    assert small.bytes is not None
    assert graph.bytes is not None
    assert small.bytes < graph.bytes * 0.7
    assert small.bytes == (tmp_path / "net.onnx").stat().st_size
    assert small.agrees is not None
    assert small.agrees >= 0.8
    operators = {node.op_type for node in onnx.load(tmp_path / "net.onnx").graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= operators


def test_export_refuses_invalid_requests(
    trained: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(BadInput, match="cannot be written: No such file"):
        exported(trained, tmp_path / "no" / "net.onnx")
    other = settings.replace(trained, data_dir=str(dark_and_light(tmp_path / "more", 6)))
    with pytest.raises(BadInput, match="other classes than the run had"):
        exported(other, tmp_path / "net.onnx")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r"pip install 'gputrain-tui\[onnx\]'"):
        export_onnx(OnnxOrder(config=trained, file="x.onnx"), lambda text: None)
    run_directory.create("any")
    assert main.main(["export", "last", str(tmp_path / "curves.csv"), "--int8"]) == 2
    assert "--int8 needs an .onnx file" in capsys.readouterr().err


def test_the_exported_graph_gives_what_predict_gives_for_the_same_image(images: Path, tmp_path: Path) -> None:
    """With a mean of its own, resized bicubically as the metadata say, by Pillow."""
    (tmp_path / "run").mkdir()
    config = small_config(
        images, image_size=24, val_resize=28, interpolation="bicubic", mean="0.5", std="0.2", epochs=2
    )
    train(tmp_path / "run", config)
    folder = tmp_path / "run" / "checkpoints"
    last = str(folder / checkpoint_index.find(folder, "last").file)
    # The values come from the checkpoint.
    bare = settings.replace(config, resume_from=last, interpolation="auto", mean="auto", std="auto", max_bad_images=1e9)
    exported(bare, tmp_path / "net.onnx")
    told = {entry.key: entry.value for entry in onnx.load(tmp_path / "net.onnx").metadata_props}
    assert told["interpolation"] == "bicubic, antialiased"
    assert (told["mean"], told["std"]) == ("0.5, 0.5, 0.5", "0.2, 0.2, 0.2")
    context = multiprocessing.get_context("spawn")
    outbox, (inbox, _other) = context.Queue(), context.Pipe(duplex=False)
    reporter = EventReporter(outbox)
    order = PredictOrder(config=bare, images=str(images / "val"), output=str(tmp_path / "p.csv"))
    predict_child._work(order, reporter, TrainerControl(inbox, reporter), lambda text: None)
    outbox.cancel_join_thread()
    session = onnxruntime.InferenceSession(str(tmp_path / "net.onnx"), providers=["CPUExecutionProvider"])
    with (tmp_path / "p.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(list((images / "val").glob("*/*.jpg")))
    for row in rows:
        short = int(told["resize_short_side"])
        image = Image.open(images / "val" / row["sample"]).resize((short, short), Image.Resampling.BICUBIC)
        pixels = np.asarray(image.crop((2, 2, 26, 26))).transpose(2, 0, 1)[None]
        scores = session.run(None, {"images": pixels})[0][0]
        shares = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
        assert row["class"] == CLASSES[int(shares.argmax())]
        assert float(row["probability"]) == pytest.approx(float(shares.max()), abs=2e-3)
