"""The process that writes a trained network as ONNX, as asked by `jobs.onnx_export_job`: ``python -m`` this."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.jobs.onnx_export_job import CALIBRATED, TRIED, Exported, OnnxOrder
from gputrain.engine.processes.child_entry import serve_job
from gputrain.engine.processes.child_job import Tell
from gputrain.engine.processes.event_reporter import EventReporter
from gputrain.engine.processes.trainer_control import TrainerControl

if TYPE_CHECKING:
    from gputrain.engine.training.readers.reader import OpenedDataset


def _work(order: OnnxOrder, reporter: EventReporter, control: TrainerControl, tell: Tell) -> Exported:
    # Only now torch: what is done is told first.
    from gputrain.engine.training.inference import onnx_export
    from gputrain.engine.training.inference.predict_child import load_trained
    from gputrain.engine.training.readers import open_dataset
    from gputrain.engine.training.runtime import device
    from gputrain.engine.training.state import torch_checkpoint

    config = order.config
    compute = device.set_up(config, reporter.notice)
    state = torch_checkpoint.load(config.resume_from, tell)
    found = open_dataset.open_dataset(config, reporter, control)
    _check(found, tuple(state["classes"]))
    network = onnx_export.ExportedNetwork(load_trained(config, found.task, compute, state))
    target = Path(order.file)
    with ExitStack() as stack:
        try:
            aside = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=".onnx-", dir=target.parent)))
        except OSError as error:
            raise BadInput(f"{plain(order.file, 300)}: cannot be written: {error.strerror}") from None
        tell("writing the graph")
        files = {"ONNX, float32": onnx_export.write(network, found, config, aside / "float.onnx")}
        if order.int8:
            control.raise_if_stopped()
            tell("finding the ranges of 8-bit numbers")
            examples = onnx_export.batches(found.train, config, CALIBRATED, train=True)
            files["ONNX, int8"] = onnx_export.quantize(files["ONNX, float32"], aside / "int8.onnx", examples)
        tell("trying it")
        forms, samples = onnx_export.compare_forms(network, files, found, config, TRIED)
        control.raise_if_stopped()
        list(files.values())[-1].replace(target)
    return Exported(file=order.file, samples=samples, metric=found.task.metric, forms=forms)


def _check(found: OpenedDataset, classes: tuple[str, ...]) -> None:
    if found.train.user_dataset is not None:
        raise BadInput("samples of dataset=custom are what your own code makes of them: export its network there")
    if found.train.classes != classes:
        raise BadInput("the data have other classes than the run had")


if __name__ == "__main__":
    serve_job(OnnxOrder, _work)
