"""RunConfig: every setting of a run, typed, bounded and described where it is declared.

A setting's name is unique over all sections, so ``batch_size=64`` on the command line needs no
section, while files group the settings to read well. Checks that need only one value are in the
annotations; checks that need the machine are in `gputrain.engine.planning.plan`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

AUTO = "auto"
"""Value of settings that are determined from the weights."""
NORMALIZATION = ("mean", "std")
"""Settings of three numbers, see `configuration.normalization`."""
Precision = Literal["auto", "fp32", "fp16", "bf16"]
Device = Literal["auto", "cpu", "cuda"]
Engine = Literal["torch", "keras"]


UNCACHED = {
    "cifar10": "the images are in memory already",
    "custom": "nothing of a data set of your own is cached; keep prepared samples in the data set",
}
"""Values of `dataset` for which `cache` has no effect, and why."""


class _Part(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class DataConfig(_Part, frozen=True):
    """What is read, and how it reaches the device."""

    dataset: Annotated[
        Literal["demo", "imagefolder", "cifar10", "300wlp", "biwi", "clips", "custom"],
        Meta(description="the layout of the data: demo is drawn once, imagefolder has one folder for each class"),
    ] = "demo"
    data_dir: Annotated[
        str, Meta(description="folder that holds the data; empty: the built-in data set's own folder in the cache")
    ] = ""
    custom: Annotated[
        str,
        Meta(description="package.module:function that gets data_dir and gives the data sets of dataset=custom"),
    ] = ""
    code_dir: Annotated[
        str,
        Meta(description="folder that custom data sets and models are imported from; empty: where the run is started"),
    ] = ""
    train_split: Annotated[str, Meta(min_length=1, description="sub-folder of data_dir to train on")] = "train"
    val_split: Annotated[str, Meta(description="sub-folder of data_dir to validate on; empty: no validation")] = "val"
    val_share: Annotated[
        float,
        Meta(ge=0, le=0.9, description="share of the subjects kept for validation where faces have no val_split"),
    ] = 0.0
    image_size: Annotated[
        int, Meta(ge=8, le=4096, description="side of the square crop that the model sees, in pixels")
    ] = 224
    progressive_start: Annotated[
        int, Meta(ge=0, le=4096, description="side of training images in the first epoch, growing to image_size; 0: no")
    ] = 0
    progressive_epochs: Annotated[
        int, Meta(ge=0, le=1_000_000, description="epochs in which training images grow; 0: three quarters of all")
    ] = 0
    clip_frames: Annotated[
        int, Meta(ge=1, le=256, description="frames of each stream of a clip, evenly spaced, that make one sample")
    ] = 8
    val_resize: Annotated[
        int, Meta(ge=8, le=8192, description="short side that validation images are resized to before the centre crop")
    ] = 256
    mean: Annotated[
        str,
        Meta(description="mean of red, green, blue in 0…1 for normalisation; auto: the weights', or ImageNet's"),
    ] = AUTO
    std: Annotated[
        str, Meta(description="standard deviation of red, green, blue in 0…1; auto: the weights', or ImageNet's")
    ] = AUTO
    augment: Annotated[
        Literal["none", "flip", "crop_flip"],
        Meta(description="training augmentation: none, horizontal flips, or random resized crops and flips"),
    ] = "crop_flip"
    crop_min_scale: Annotated[
        float, Meta(gt=0, le=1, description="smallest share of the image's area that a random crop keeps")
    ] = 0.08
    colour_jitter: Annotated[
        float,
        Meta(ge=0, lt=1, description="largest change of brightness, contrast and saturation in training; 0: none"),
    ] = 0.0
    hue_jitter: Annotated[
        float, Meta(ge=0, le=0.5, description="largest turn of the hue in training, as a share of the circle; 0: none")
    ] = 0.0
    auto_augment: Annotated[
        Literal["none", "randaugment", "trivialaugment"],
        Meta(description="random changes of shape and colour to each training image, by one of two published rules"),
    ] = "none"
    randaugment_ops: Annotated[int, Meta(ge=1, le=16, description="changes to each image by randaugment")] = 2
    randaugment_magnitude: Annotated[
        int, Meta(ge=0, le=30, description="strength of the changes by randaugment, 0 to 30")
    ] = 9
    random_erasing: Annotated[
        float, Meta(ge=0, le=1, description="share of training images in which a random rectangle is blanked")
    ] = 0.0
    loader: Annotated[
        Literal["auto", "threads", "processes"],
        Meta(description="workers as threads over one shared batch, as processes, or whichever suits the data"),
    ] = "auto"
    cache: Annotated[
        Literal["none", "ram", "disk"], Meta(description="keep prepared images after the first epoch, and where")
    ] = "none"
    cache_form: Annotated[
        Literal["raw", "jpeg"],
        Meta(description="what the cache keeps: decoded pixels, or JPEG tiles of the full image"),
    ] = "raw"
    cache_resolution: Annotated[
        int,
        Meta(
            ge=0, le=16384, description="short side of the images in a raw cache in pixels; 0: by image_size and crops"
        ),
    ] = 0
    cache_gib: Annotated[
        float, Meta(ge=0, le=1e6, description="largest size of a cache in GiB; 0: what is free, less a reserve")
    ] = 0.0
    batch_size: Annotated[int, Meta(ge=1, le=65536, description="images in one batch on one device")] = 32
    val_batch_size: Annotated[
        int, Meta(ge=0, le=65536, description="images in one validation batch; 0: the same as batch_size")
    ] = 0
    num_workers: Annotated[
        int, Meta(ge=0, le=1024, description="workers that read, decode and cut images beside the training; 0: none")
    ] = 2
    prefetch_factor: Annotated[int, Meta(ge=1, le=256, description="batches that each worker prepares ahead")] = 2
    persistent_workers: Annotated[bool, Meta(description="keep the workers alive between epochs")] = True
    pin_memory: Annotated[bool, Meta(description="page-locked host batches, for faster copies to a GPU")] = True
    non_blocking: Annotated[bool, Meta(description="copy to the GPU while the previous step still runs")] = True
    max_bad_images: Annotated[
        float,
        Meta(ge=0, description="unreadable images to replace by others before the run fails; below 1: share of all"),
    ] = 100.0


class ModelConfig(_Part, frozen=True):
    """The network."""

    model: Annotated[
        str,
        Meta(
            min_length=1,
            description="simple_cnn, torchvision's models by name (resnet50), timm/NAME, or package.module:function",
        ),
    ] = "simple_cnn"
    weights: Annotated[
        str,
        Meta(description="file of weights to start from, or the name of torchvision's own (DEFAULT); empty: random"),
    ] = ""
    weights_strict: Annotated[
        bool, Meta(description="refuse weights that differ from the model in more than the classifier")
    ] = True
    width: Annotated[int, Meta(ge=4, le=1024, description="channels of simple_cnn's first stage")] = 32


class OptimConfig(_Part, frozen=True):
    """How the weights are updated."""

    optimizer: Annotated[
        Literal["sgd", "adam", "adamw", "rmsprop", "lamb"],
        Meta(description="the update rule; lamb is meant for very large batches"),
    ] = "sgd"
    lr: Annotated[float, Meta(gt=0, le=100, description="peak learning rate at lr_batch_size images per update")] = 0.1
    lr_batch_size: Annotated[
        int, Meta(ge=0, description="total batch that lr is meant for: lr is scaled linearly from it; 0: no scaling")
    ] = 256
    momentum: Annotated[float, Meta(ge=0, lt=1, description="momentum of sgd and rmsprop, beta1 of the others")] = 0.9
    weight_decay: Annotated[float, Meta(ge=0, le=10, description="decay of weights; norms and biases are left out")] = (
        5e-5
    )
    schedule: Annotated[
        Literal["cosine", "one_cycle", "constant"], Meta(description="course of the learning rate after the warm-up")
    ] = "cosine"
    warmup_epochs: Annotated[
        float, Meta(ge=0, description="epochs in which the learning rate rises linearly to its peak")
    ] = 0.0
    label_smoothing: Annotated[float, Meta(ge=0, lt=1, description="share of the target spread over all classes")] = 0.0
    mixup: Annotated[
        float, Meta(ge=0, le=2, description="alpha of mixup: images and labels of a batch are blended; 0: not")
    ] = 0.0
    cutmix: Annotated[
        float, Meta(ge=0, le=2, description="alpha of cutmix: a box comes from another image of the batch; 0: not")
    ] = 0.0
    accumulation_steps: Annotated[int, Meta(ge=1, le=4096, description="batches whose gradients make one update")] = 1
    clip_grad_norm: Annotated[float, Meta(ge=0, description="largest gradient norm; 0: no clipping")] = 0.0
    nonfinite_loss: Annotated[
        Literal["stop", "skip"],
        Meta(description="a loss that is no number ends the run, or its update is passed over and told"),
    ] = "stop"
    ema_decay: Annotated[
        float,
        Meta(ge=0, lt=1, description="decay per update of an average of the weights, which is validated; 0: none"),
    ] = 0.0


class SpeedConfig(_Part, frozen=True):
    """What makes a step faster; each says in the plan when this machine can't do it."""

    precision: Annotated[
        Precision, Meta(description="arithmetic of the forward and backward pass; auto: the best the device is fast at")
    ] = "auto"
    val_precision: Annotated[
        Literal["same", "fp32"], Meta(description="arithmetic of validation: that of training, or full precision")
    ] = "same"
    channels_last: Annotated[bool, Meta(description="NHWC memory format, faster for convolutions on tensor cores")] = (
        True
    )
    tf32: Annotated[bool, Meta(description="TensorFloat-32 for float32 matrix products (compute capability ≥ 8.0)")] = (
        True
    )
    cudnn_benchmark: Annotated[bool, Meta(description="let cuDNN time its convolution algorithms once per shape")] = (
        True
    )
    compile: Annotated[
        bool, Meta(description="torch.compile the model, or XLA with engine=keras: faster steps after a slow start")
    ] = False
    compile_mode: Annotated[
        Literal["default", "reduce-overhead", "max-autotune"], Meta(description="mode of torch.compile")
    ] = "default"
    compile_scope: Annotated[
        Literal["model", "blocks"],
        Meta(description="compile the model as a whole, or each repeated block once: sooner where they are alike"),
    ] = "model"
    fused_optimizer: Annotated[bool, Meta(description="update all weights in one kernel where the optimizer can")] = (
        True
    )
    set_to_none: Annotated[bool, Meta(description="free gradients between updates instead of zeroing them")] = True
    gradient_checkpointing: Annotated[
        bool, Meta(description="recompute activations in the backward pass: less memory, about a third more time")
    ] = False
    oom_fallback: Annotated[
        bool, Meta(description="compute batches in smaller parts when GPU memory runs out, instead of failing")
    ] = True


class CheckpointConfig(_Part, frozen=True):
    """What is kept, and how often."""

    checkpoint_epochs: Annotated[
        int, Meta(ge=0, description="epochs between checkpoints; 0: only on request and at the end")
    ] = 1
    checkpoint_steps: Annotated[int, Meta(ge=0, description="steps between checkpoints within an epoch; 0: none")] = 0
    keep_last: Annotated[int, Meta(ge=1, le=1000, description="newest checkpoints that are kept beside the best")] = 2
    async_checkpoints: Annotated[
        bool, Meta(description="write checkpoints beside the training, from a copy in memory; false: hold it meanwhile")
    ] = True
    auto_resume: Annotated[
        bool, Meta(description="after a crash go on from the newest checkpoint, a few times, with growing waits")
    ] = False
    validate_epochs: Annotated[int, Meta(ge=1, description="epochs between validations")] = 1
    early_stop: Annotated[
        int, Meta(ge=0, description="validations in a row without a better one after which the run ends; 0: never")
    ] = 0


class MonitorConfig(_Part, frozen=True):
    """What is recorded about the machine."""

    sample_seconds: Annotated[float, Meta(ge=0.2, le=3600, description="seconds between two hardware samples")] = 1.0
    autotune: Annotated[
        bool,
        Meta(description="try hints that leave the losses as they are (workers, prefetch …), and keep those that help"),
    ] = False
    resources_csv: Annotated[bool, Meta(description="write the samples to resources.csv in the run directory")] = False
    hang_seconds: Annotated[
        float,
        Meta(ge=0, description="seconds without a sign of life from the trainer that are told as a hang; 0: never"),
    ] = 300.0
    loggers: Annotated[
        Literal["none", "tensorboard", "wandb", "tensorboard+wandb"],
        Meta(description="other tools that get the figures of the run, each by a process that the run never waits for"),
    ] = "none"


class RunConfig(_Part, frozen=True):
    """All that is needed to launch the same run again."""

    recipe: Annotated[str, Meta(description="recipe that the settings started from")] = ""
    profile: Annotated[str, Meta(description="hardware profile that the settings started from")] = ""
    preset: Annotated[str, Meta(description="preset of the profile")] = ""
    name: Annotated[str, Meta(max_length=80, description="a name for the run, shown in lists")] = ""
    engine: Annotated[
        Engine,
        Meta(description="what trains: torch, or TensorFlow with Keras (pip install 'gputrain-tui[tensorflow]')"),
    ] = "torch"
    device: Annotated[Device, Meta(description="where to train; auto: a GPU when one can be used, else the CPU")] = (
        "auto"
    )
    ranks: Annotated[
        int,
        Meta(ge=1, le=64, description="processes that train together, each on a GPU of its own with its own batches"),
    ] = 1
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1, description="seed of weights, order and augmentation")] = 0
    epochs: Annotated[int, Meta(ge=1, le=1_000_000, description="passes over the training images")] = 10
    max_steps: Annotated[int, Meta(ge=0, description="stop after so many batches; 0: after the last epoch")] = 0
    resume_from: Annotated[str, Meta(description="checkpoint file to go on from; empty: a new start")] = ""
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    optim: OptimConfig = OptimConfig()
    speed: SpeedConfig = SpeedConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    monitor: MonitorConfig = MonitorConfig()
