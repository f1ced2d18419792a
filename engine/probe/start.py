"""Where the probe begins: which modules of others are watched, and by what."""

from __future__ import annotations

from .cuda import CudaClock
from .frameworks.keras_hooks import KerasHooks
from .frameworks.scalar_hooks import ScalarHooks
from .import_hooks import Finder, finder_of
from .loader_hooks import LoaderHooks
from .on_request import stack_dump
from .on_request.requested_trace import RequestedTrace
from .optimizer_hooks import OptimizerHooks
from .page import Probe
from .reports import Reports
from .steps import Steps
from .worker_hooks import WorkerHooks

reports: Reports | None = None
"""Where `gputrain.report` hands over what the script says; None before `install`."""


def install(folder: str) -> Finder:
    """Watch this process by what is returned, for `sys.meta_path`; pages are made below `folder` when torch is used."""
    probe = Probe(folder)
    stack_dump.install(folder)
    steps = Steps(probe.off)
    cuda = CudaClock(probe)
    probe.after_fork += [steps.reset, cuda.reset]
    steps.on_fetch.append(cuda.fetched)
    trace = RequestedTrace(probe, steps)
    probe.after_fork.append(trace.reset)
    steps.on_update += [cuda.updated, trace.updated]
    loaders, optimizers = LoaderHooks(probe, steps), OptimizerHooks(probe, steps)
    workers, scalars = WorkerHooks(probe), ScalarHooks(probe)
    keras = KerasHooks(probe, steps, scalars)
    global reports
    reports = Reports(probe, steps, scalars)
    connector = "trainer.connectors.logger_connector.logger_connector"
    return finder_of(
        probe,
        {
            "torch.utils.data.dataloader": [loaders.install],
            "torchdata.stateful_dataloader.stateful_dataloader": [loaders.install_stateful],
            "torch.utils.data": [workers.install],
            "torch.optim.optimizer": [optimizers.install_optimizer],
            "torch.autograd": [optimizers.install_backward],
            "torch.amp.grad_scaler": [optimizers.install_scaler],
            "torch.cuda.amp.grad_scaler": [optimizers.install_scaler],
            "torch.utils.tensorboard.writer": [scalars.tensorboard],
            "tensorboardX.writer": [scalars.tensorboard],
            "wandb.sdk.wandb_run": [scalars.wandb],
            "mlflow.tracking.fluent": [scalars.mlflow],
            "lightning.pytorch." + connector: [scalars.lightning],
            "pytorch_lightning." + connector: [scalars.lightning],
            "transformers.trainer": [scalars.transformers],
            "tqdm.std": [scalars.tqdm],
            "ultralytics.engine.trainer": [scalars.ultralytics],
            "timm.utils.summary": [scalars.timm],
            "keras.src.callbacks.callback_list": [keras.install],
            "keras.src.trainers.epoch_iterator": [keras.install_iterator],
        },
    )
