"""RunConfig: all settings of a run, with type, bounds and description.

A setting's name is unique over all sections, so ``batch_size=64`` on the command line needs no
section, while files group the settings to read well. Checks that need only one value are in the
annotations; checks that need the machine are in `gputrain.engine.planning.plan`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from gputrain.engine.configuration.sections.data_settings import DataConfig
from gputrain.engine.configuration.sections.distributed_settings import DistributedConfig, parse_devices

Precision = Literal["auto", "fp32", "fp16", "bf16"]
Device = Literal["auto", "cpu", "cuda"]
Engine = Literal["torch", "keras"]


class _Part(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class ModelConfig(_Part, frozen=True):
    """The network."""

    model: Annotated[
        str,
        Meta(
            min_length=1,
            description="simple_cnn, a torchvision model (resnet50), timm/NAME, or package.module:function",
        ),
    ] = "simple_cnn"
    weights: Annotated[
        str, Meta(description="initial weights: a file, or the name of pretrained weights (DEFAULT); empty: random")
    ] = ""
    weights_strict: Annotated[
        bool, Meta(description="refuse weights that differ from the model in more than the classifier")
    ] = True
    width: Annotated[int, Meta(ge=4, le=1024, description="channels of the first stage of simple_cnn")] = 32


class OptimConfig(_Part, frozen=True):
    """The optimizer, the learning rate and the loss."""

    optimizer: Annotated[
        Literal["sgd", "adam", "adamw", "rmsprop", "lamb"],
        Meta(description="optimizer; lamb is for very large batches"),
    ] = "sgd"
    lr: Annotated[float, Meta(gt=0, le=100, description="peak learning rate for lr_batch_size images per update")] = 0.1
    lr_batch_size: Annotated[
        int,
        Meta(
            ge=0, description="total batch size that lr is for; lr scales linearly with the actual one; 0: no scaling"
        ),
    ] = 256
    momentum: Annotated[float, Meta(ge=0, lt=1, description="momentum of sgd and rmsprop, else beta1")] = 0.9
    weight_decay: Annotated[float, Meta(ge=0, le=10, description="weight decay; not applied to norms and biases")] = (
        5e-5
    )
    schedule: Annotated[
        Literal["cosine", "one_cycle", "constant"], Meta(description="learning rate schedule after the warm-up")
    ] = "cosine"
    warmup_epochs: Annotated[float, Meta(ge=0, description="epochs of linear learning rate warm-up")] = 0.0
    label_smoothing: Annotated[float, Meta(ge=0, lt=1, description="label smoothing factor")] = 0.0
    mixup: Annotated[
        float, Meta(ge=0, le=2, description="alpha of mixup (blends images and labels of a batch); 0: off")
    ] = 0.0
    cutmix: Annotated[
        float, Meta(ge=0, le=2, description="alpha of cutmix (pastes a box from another image of the batch); 0: off")
    ] = 0.0
    accumulation_steps: Annotated[
        int, Meta(ge=1, le=4096, description="batches per update (gradient accumulation)")
    ] = 1
    clip_grad_norm: Annotated[float, Meta(ge=0, description="maximum gradient norm; 0: no clipping")] = 0.0
    nonfinite_loss: Annotated[
        Literal["stop", "skip"],
        Meta(description="a NaN or Inf loss stops the run, or (skip) that update is skipped and logged"),
    ] = "stop"
    ema_decay: Annotated[
        float,
        Meta(ge=0, lt=1, description="EMA decay of the weights per update; validation uses the EMA weights; 0: off"),
    ] = 0.0


class SpeedConfig(_Part, frozen=True):
    """Settings that make a step faster; the plan shows those that this machine does not support."""

    precision: Annotated[
        Precision,
        Meta(description="precision of forward and backward pass; auto: the fastest that the device supports"),
    ] = "auto"
    val_precision: Annotated[
        Literal["same", "fp32"], Meta(description="precision of validation: the same as training, or fp32")
    ] = "same"
    channels_last: Annotated[bool, Meta(description="NHWC memory format, faster for convolutions on tensor cores")] = (
        True
    )
    tf32: Annotated[bool, Meta(description="TensorFloat-32 for float32 matrix products (compute capability ≥ 8.0)")] = (
        True
    )
    cudnn_benchmark: Annotated[bool, Meta(description="let cuDNN benchmark convolution algorithms once per shape")] = (
        True
    )
    compile: Annotated[
        bool, Meta(description="torch.compile, or XLA with engine=keras: faster steps after a slower start")
    ] = False
    compile_mode: Annotated[
        Literal["default", "reduce-overhead", "max-autotune"], Meta(description="mode of torch.compile")
    ] = "default"
    compile_scope: Annotated[
        Literal["model", "blocks"],
        Meta(description="compile the whole model, or each repeated block: a shorter compilation if blocks are alike"),
    ] = "model"
    fused_optimizer: Annotated[bool, Meta(description="fused optimizer kernel, if the optimizer has one")] = True
    set_to_none: Annotated[bool, Meta(description="free gradients between updates instead of zeroing them")] = True
    gradient_checkpointing: Annotated[
        bool, Meta(description="recompute activations in the backward pass: less memory, about a third slower")
    ] = False
    oom_fallback: Annotated[
        bool, Meta(description="split batches into smaller parts when GPU memory runs out, instead of failing")
    ] = True


class CheckpointConfig(_Part, frozen=True):
    """Checkpoints, resuming and validation."""

    checkpoint_epochs: Annotated[
        int, Meta(ge=0, description="epochs between checkpoints; 0: only on request and at the end")
    ] = 1
    checkpoint_steps: Annotated[int, Meta(ge=0, description="steps between checkpoints within an epoch; 0: none")] = 0
    keep_last: Annotated[int, Meta(ge=1, le=1000, description="newest checkpoints to keep besides the best")] = 2
    async_checkpoints: Annotated[
        bool, Meta(description="write checkpoints in the background from a copy in memory; false: training waits")
    ] = True
    auto_resume: Annotated[
        bool, Meta(description="after a crash resume from the newest checkpoint, up to six times with growing delays")
    ] = False
    validate_epochs: Annotated[int, Meta(ge=1, description="epochs between validations")] = 1
    early_stop: Annotated[int, Meta(ge=0, description="stop after so many validations without improvement; 0: off")] = 0


class MonitorConfig(_Part, frozen=True):
    """Recording and monitoring."""

    sample_seconds: Annotated[float, Meta(ge=0.2, le=3600, description="seconds between hardware samples")] = 1.0
    autotune: Annotated[
        bool, Meta(description="apply hints that do not change the losses (workers, prefetch …), keep those that help")
    ] = False
    resources_csv: Annotated[bool, Meta(description="write hardware samples to resources.csv in the run directory")] = (
        False
    )
    hang_seconds: Annotated[
        float, Meta(ge=0, description="seconds without an event from the trainer that are reported as a hang; 0: never")
    ] = 300.0
    loggers: Annotated[
        Literal[
            "none",
            "tensorboard",
            "wandb",
            "mlflow",
            "trackio",
            "tensorboard+wandb",
            "tensorboard+mlflow",
            "tensorboard+trackio",
            "wandb+mlflow",
            "wandb+trackio",
            "mlflow+trackio",
            "tensorboard+wandb+mlflow",
            "tensorboard+wandb+trackio",
            "tensorboard+mlflow+trackio",
            "wandb+mlflow+trackio",
            "tensorboard+wandb+mlflow+trackio",
        ],
        Meta(description="also log to these tools, each in a separate process that never delays the run"),
    ] = "none"
    cost_per_hour: Annotated[
        float, Meta(ge=0, description="price of this machine per hour, in any currency; 0: costs are not shown")
    ] = 0.0
    price_per_kwh: Annotated[
        float, Meta(ge=0, description="price of a kWh, for the energy that was measured; 0: not shown")
    ] = 0.0
    alerts: Annotated[bool, Meta(description="send alerts as alerts.yaml in the configuration folder says")] = True


class RunConfig(_Part, frozen=True):
    """All settings of a run."""

    recipe: Annotated[str, Meta(description="recipe that the settings are based on")] = ""
    profile: Annotated[str, Meta(description="hardware profile that the settings are based on")] = ""
    preset: Annotated[str, Meta(description="preset of the profile")] = ""
    name: Annotated[str, Meta(max_length=80, description="name of the run, shown in lists")] = ""
    engine: Annotated[
        Engine, Meta(description="torch, or keras: TensorFlow with Keras (pip install 'gputrain-tui[tensorflow]')")
    ] = "torch"
    device: Annotated[Device, Meta(description="device to train on; auto: a GPU if one is usable, else the CPU")] = (
        "auto"
    )
    devices: Annotated[
        int,
        Meta(
            ge=0,
            le=1024,
            description="number of GPUs, with one process (rank) each; all or 0: all that are usable",
            extra={"parse": parse_devices},
        ),
    ] = 1
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1, description="seed of weights, order and augmentation")] = 0
    epochs: Annotated[int, Meta(ge=1, le=1_000_000, description="epochs to train")] = 10
    max_steps: Annotated[int, Meta(ge=0, description="stop after this many steps; 0: after the last epoch")] = 0
    resume_from: Annotated[str, Meta(description="checkpoint file to resume from; empty: start anew")] = ""
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    optim: OptimConfig = OptimConfig()
    speed: SpeedConfig = SpeedConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    distributed: DistributedConfig = DistributedConfig()
    monitor: MonitorConfig = MonitorConfig()
