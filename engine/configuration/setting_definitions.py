"""RunConfig: all settings of a run, with type, bounds and description.

A setting's name is unique over all sections, so ``batch_size=64`` on the command line needs no
section, while files group the settings to read well. Checks that need only one value are in the
annotations; checks that need the machine are in `gputrain.engine.planning.plan`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from gputrain.engine.configuration import value_range
from gputrain.engine.configuration.distributed_settings import DistributedConfig, parse_devices

AUTO = "auto"
"""Value of settings that are determined from the weights."""
NORMALIZATION = ("mean", "std")
"""Settings of three numbers, see `configuration.normalization`."""
Precision = Literal["auto", "fp32", "fp16", "bf16"]
Device = Literal["auto", "cpu", "cuda"]
Engine = Literal["torch", "keras"]
Interpolation = Literal["bilinear", "bicubic"]
"""How images are resized, see `DataConfig.interpolation`."""
INTERPOLATIONS: tuple[Interpolation, ...] = ("bilinear", "bicubic")


SHARDED = ("webdataset", "parquet")
"""Values of `dataset` whose images lie in shards."""
UNCACHED = {
    "cifar10": "the images are already in memory",
    "custom": "a custom data set is not cached; cache prepared samples in the data set itself",
}
"""Values of `dataset` without an image cache, and why."""


class _Part(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class DataConfig(_Part, frozen=True):
    """The data, and how batches reach the device."""

    dataset: Annotated[
        Literal["demo", "imagefolder", "webdataset", "parquet", "cifar10", "300wlp", "biwi", "clips", "custom"],
        Meta(
            description="layout of the data: demo is generated once, imagefolder has one folder per class, "
            "webdataset and parquet are shards"
        ),
    ] = "demo"
    data_dir: Annotated[str, Meta(description="folder of the data; empty: the demo data set in the cache folder")] = ""
    custom: Annotated[
        str, Meta(description="package.module:function that takes data_dir and returns the data sets of dataset=custom")
    ] = ""
    code_dir: Annotated[
        str, Meta(description="folder to import custom data sets and models from; empty: the current folder at launch")
    ] = ""
    train_split: Annotated[
        str, Meta(min_length=1, description="sub-folder of data_dir to train on, or pattern of shards (train-*.tar)")
    ] = "train"
    val_split: Annotated[
        str, Meta(description="sub-folder of data_dir to validate on, or pattern of shards; empty: no validation")
    ] = "val"
    image_key: Annotated[
        str,
        Meta(
            min_length=1,
            description="file of a tar sample (jpg, or left.jpg;left.png), or Parquet column, with the image; "
            "auto: the only one",
        ),
    ] = AUTO
    label_key: Annotated[
        str,
        Meta(
            min_length=1,
            description="file of a tar sample (cls, json.label), or Parquet column, with the class; auto: cls or json, "
            "or a ClassLabel column",
        ),
    ] = AUTO
    shuffle: Annotated[
        Literal["auto", "global", "shards"],
        Meta(
            description="order of an epoch: global over all images, or shards: a window of shards at a time, for hard "
            "disks and network storage; auto: by the storage"
        ),
    ] = "auto"
    shuffle_window: Annotated[
        int, Meta(ge=1, le=100_000, description="shards that are shuffled together with shuffle=shards")
    ] = 16
    val_share: Annotated[
        float,
        Meta(ge=0, le=0.9, description="share of the people used for validation if faces or clips have no val_split"),
    ] = 0.0
    image_size: Annotated[
        int, Meta(ge=8, le=4096, description="side of the square input images of the model, in pixels")
    ] = 224
    progressive_start: Annotated[
        int,
        Meta(ge=0, le=4096, description="side of training images in the first epoch, growing to image_size; 0: off"),
    ] = 0
    progressive_epochs: Annotated[
        int, Meta(ge=0, le=1_000_000, description="epochs in which training images grow; 0: three quarters of epochs")
    ] = 0
    clip_frames: Annotated[
        int, Meta(ge=1, le=256, description="evenly spaced frames of each stream of a clip in one sample")
    ] = 8
    val_resize: Annotated[
        int, Meta(ge=8, le=8192, description="short side of validation images before the center crop, in pixels")
    ] = 256
    value_range: Annotated[
        str,
        Meta(
            description="values of grey images above 8 bits that become black and white: [low, high], bits, or auto",
            extra={"parse": value_range.normalised},
        ),
    ] = value_range.AUTO
    mean: Annotated[
        str,
        Meta(description="mean of red, green, blue in 0…1 for normalisation; auto: the weights', or ImageNet's"),
    ] = "auto"
    std: Annotated[
        str, Meta(description="standard deviation of red, green, blue in 0…1; auto: the weights', or ImageNet's")
    ] = AUTO
    interpolation: Annotated[
        Literal["auto", "bilinear", "bicubic"],
        Meta(description="how images are resized, always antialiased; auto: as the weights', or bilinear"),
    ] = "auto"
    augment: Annotated[
        Literal["none", "flip", "crop_flip"],
        Meta(description="training augmentation: none, random horizontal flips, or random resized crops and flips"),
    ] = "crop_flip"
    crop_min_scale: Annotated[
        float, Meta(gt=0, le=1, description="smallest area of a random crop, as a share of the image")
    ] = 0.08
    color_jitter: Annotated[
        float, Meta(ge=0, lt=1, description="maximum random change of brightness, contrast and saturation; 0: none")
    ] = 0.0
    hue_jitter: Annotated[
        float,
        Meta(ge=0, le=0.5, description="maximum random change of the hue, as a share of the color circle; 0: none"),
    ] = 0.0
    auto_augment: Annotated[
        Literal["none", "randaugment", "trivialaugment"],
        Meta(description="automatic augmentation policy: RandAugment or TrivialAugment"),
    ] = "none"
    randaugment_ops: Annotated[int, Meta(ge=1, le=16, description="operations per image with randaugment")] = 2
    randaugment_magnitude: Annotated[
        int, Meta(ge=0, le=30, description="magnitude of the randaugment operations, 0 to 30")
    ] = 9
    random_erasing: Annotated[
        float, Meta(ge=0, le=1, description="probability that a random rectangle of a training image is erased")
    ] = 0.0
    loader: Annotated[
        Literal["auto", "threads", "processes"],
        Meta(description="data workers as threads or processes; auto: whichever suits the data"),
    ] = "auto"
    cache: Annotated[Literal["none", "ram", "disk"], Meta(description="cache decoded images after the first epoch")] = (
        "none"
    )
    cache_form: Annotated[
        Literal["raw", "jpeg"],
        Meta(description="content of the cache: decoded pixels, or JPEG tiles of the full image"),
    ] = "raw"
    cache_resolution: Annotated[
        int,
        Meta(
            ge=0, le=16384, description="short side of images in a raw cache, in pixels; 0: from image_size and crops"
        ),
    ] = 0
    cache_gib: Annotated[
        float, Meta(ge=0, le=1e6, description="maximum size of the cache in GiB; 0: the free space less a reserve")
    ] = 0.0
    batch_size: Annotated[int, Meta(ge=1, le=65536, description="images per batch on one device")] = 32
    val_batch_size: Annotated[
        int, Meta(ge=0, le=65536, description="images per validation batch; 0: the same as batch_size")
    ] = 0
    num_workers: Annotated[
        int, Meta(ge=0, le=1024, description="data workers that read, decode and transform images; 0: no workers")
    ] = 2
    prefetch_factor: Annotated[int, Meta(ge=1, le=256, description="batches that each worker loads in advance")] = 2
    persistent_workers: Annotated[bool, Meta(description="keep workers alive between epochs")] = True
    pin_memory: Annotated[bool, Meta(description="use page-locked host memory for faster copies to the GPU")] = True
    non_blocking: Annotated[bool, Meta(description="copy batches to the GPU asynchronously")] = True
    max_bad_images: Annotated[
        float,
        Meta(ge=0, description="unreadable images to replace before the run fails; below 1: as a share of all images"),
    ] = 100.0


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
        Literal["none", "tensorboard", "wandb", "tensorboard+wandb"],
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
