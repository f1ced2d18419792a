"""Settings of the data, and of how batches reach the device; a section of `RunConfig`."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from gputrain.engine.common import remote_urls
from gputrain.engine.configuration import value_range

AUTO = "auto"
"""Value of settings that are determined from the weights."""
NORMALIZATION = ("mean", "std")
"""Settings of three numbers, see `configuration.normalization`."""
Interpolation = Literal["bilinear", "bicubic"]
"""How images are resized, see `DataConfig.interpolation`."""
INTERPOLATIONS: tuple[Interpolation, ...] = ("bilinear", "bicubic")
CropMode = Literal["center", "squash"]
"""How validation images become square, see `DataConfig.crop_mode`."""
CROP_MODES: tuple[CropMode, ...] = ("center", "squash")
REMOTE = ("webdataset", "parquet", "mds", "litdata", "tfrecord")
"""Values of `dataset` whose `data_dir` may be a URL."""
SHARDED = (*REMOTE, "hf", "imagenet")
"""Values of `dataset` whose images lie in shards: many in one file."""
UNCACHED = {
    "cifar10": "the images are already in memory",
    "custom": "a custom data set is not cached; cache prepared samples in the data set itself",
}
"""Values of `dataset` without an image cache, and why."""


class DataConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The data, and how batches reach the device."""

    dataset: Annotated[
        Literal[
            "demo",
            "imagefolder",
            "webdataset",
            "parquet",
            "mds",
            "litdata",
            "tfrecord",
            "hf",
            "imagenet",
            "cifar10",
            "300wlp",
            "biwi",
            "clips",
            "custom",
        ],
        Meta(
            description="layout of the data: demo is generated once, imagefolder has one folder per class, "
            "webdataset, parquet, mds (MosaicML Streaming), litdata and tfrecord are shards, hf is data of Hugging "
            "Face's datasets (hf:NAME:CONFIG@TRAIN,VAL on the command line), imagenet has the tars of ILSVRC2012"
        ),
    ] = "demo"
    data_dir: Annotated[
        str,
        Meta(
            description="folder of the data, URL of shards (s3://, gs://, hf://, https://), or hf:NAME[:CONFIG]; "
            "empty: the demo data set in the cache folder",
            extra={"parse": remote_urls.checked_setting},
        ),
    ] = ""
    custom: Annotated[
        str, Meta(description="package.module:function that takes data_dir and returns the data sets of dataset=custom")
    ] = ""
    code_dir: Annotated[
        str, Meta(description="folder to import custom data sets and models from; empty: the current folder at launch")
    ] = ""
    train_split: Annotated[
        str,
        Meta(min_length=1, description="sub-folder of data_dir, split, or pattern of shards (train-*.tar) to train on"),
    ] = "train"
    val_split: Annotated[
        str,
        Meta(description="sub-folder of data_dir, split, or pattern of shards to validate on; empty: none"),
    ] = "val"
    image_key: Annotated[
        str,
        Meta(
            min_length=1,
            description="file of a tar sample (jpg, or left.jpg;left.png), Parquet or MDS column, LitData leaf or "
            "TFRecord feature with the image; auto: the only one, or image/encoded",
        ),
    ] = AUTO
    label_key: Annotated[
        str,
        Meta(
            min_length=1,
            description="file of a tar sample (cls, json.label), Parquet or MDS column, LitData leaf or TFRecord "
            "feature with the class; auto: cls or json, a ClassLabel column, label, class, or image/class/label",
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
    remote_cache_gib: Annotated[
        float,
        Meta(
            ge=0,
            le=1e6,
            description="maximum size of the local cache of remote shards in GiB; 0: the free disk space "
            "less a reserve",
        ),
    ] = 0.0
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
    crop_mode: Annotated[
        CropMode,
        Meta(
            description="how validation images become square: by their center, or squash: both sides are resized to "
            "val_resize before the center crop"
        ),
    ] = "center"
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
