"""Other loaders, each configured as its own documentation recommends, for the same random crops.

All but torchvision's reference return uint8 without flipping, the least work that they have in common.
"""

from __future__ import annotations

import io
import random
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import harness
import numpy as np
import torch
from PIL import Image


def _drain(loader: Any) -> int:
    return sum(len(labels) for _, labels in loader)


@dataclass(frozen=True, slots=True)
class Setting:
    """Input of every loader."""

    data: Path
    """Folder with ``train/<class>/*.jpg``."""
    scratch: Path
    """A place for files of their own."""
    workers: int
    batch_size: int
    size: int


def _folder_loader(setting: Setting, transform: Any, loader: Any = None) -> Any:
    from torchvision.datasets import ImageFolder

    options = {} if loader is None else {"loader": loader}
    return torch.utils.data.DataLoader(
        ImageFolder(str(setting.data / "train"), transform, **options),
        batch_size=setting.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=setting.workers,
        persistent_workers=True,
    )


def torchvision_reference(setting: Setting) -> harness.Pass:
    """torchvision's references/classification: Pillow, antialiased, float32, normalised."""
    from torchvision import transforms

    steps = [
        transforms.RandomResizedCrop(setting.size, antialias=True),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ]
    loader = _folder_loader(setting, transforms.Compose(steps))
    return lambda: _drain(loader)


def _read_tensor(path: str) -> torch.Tensor:
    from torchvision import io as vision

    decoded: torch.Tensor = vision.decode_jpeg(vision.read_file(path))
    return decoded


def torchvision_uint8(setting: Setting) -> harness.Pass:
    """torchvision's own JPEG decoder and tensors of uint8."""
    from torchvision.transforms import v2

    torch.set_num_threads(1)
    loader = _folder_loader(setting, v2.RandomResizedCrop(setting.size, antialias=True), _read_tensor)
    return lambda: _drain(loader)


def _dali(setting: Setting, *, antialias: bool) -> harness.Pass:
    dali = import_module("nvidia.dali")
    fn, types = import_module("nvidia.dali.fn"), import_module("nvidia.dali.types")

    def graph() -> Any:
        files, labels = fn.readers.file(file_root=str(setting.data / "train"), random_shuffle=True, name="reader")
        images = fn.decoders.image_random_crop(
            files,
            device="cpu",
            output_type=types.RGB,
            random_aspect_ratio=[3 / 4, 4 / 3],
            random_area=[0.08, 1.0],
            num_attempts=10,
            use_fast_idct=not antialias,
        )
        side = [setting.size, setting.size]
        return fn.resize(images, size=side, interp_type=types.INTERP_LINEAR, antialias=antialias), labels

    pipe = dali.pipeline_def(graph)(batch_size=setting.batch_size, num_threads=setting.workers, device_id=None)
    pipe.build()
    batches = int(pipe.epoch_size("reader")) // setting.batch_size

    def one_pass() -> int:
        for _ in range(batches):
            images, _labels = pipe.run()
            images.as_tensor()
        return batches * setting.batch_size

    return one_pass


def dali_cpu(setting: Setting) -> harness.Pass:
    """DALI on the CPU with an antialiased resize: the same quality as ours."""
    return _dali(setting, antialias=True)


def dali_cpu_fast(setting: Setting) -> harness.Pass:
    """DALI on the CPU, fast settings."""
    return _dali(setting, antialias=False)


def _ffcv(setting: Setting, mode: str, max_resolution: int | None) -> harness.Pass:
    fields, writer = import_module("ffcv.fields"), import_module("ffcv.writer")
    loaders, transforms = import_module("ffcv.loader"), import_module("ffcv.transforms")
    rgb, basics = import_module("ffcv.fields.rgb_image"), import_module("ffcv.fields.basics")
    from torchvision.datasets import ImageFolder

    path = setting.scratch / f"{mode}-{max_resolution}.beton"
    if not path.exists():
        kept = fields.RGBImageField(write_mode=mode, max_resolution=max_resolution, jpeg_quality=90)
        made = writer.DatasetWriter(str(path), {"image": kept, "label": fields.IntField()}, num_workers=1)
        made.from_indexed_dataset(ImageFolder(str(setting.data / "train")))
    loader = loaders.Loader(
        str(path),
        batch_size=setting.batch_size,
        num_workers=setting.workers,
        order=loaders.OrderOption.RANDOM,
        os_cache=True,
        drop_last=True,
        pipelines={
            "image": [rgb.RandomResizedCropRGBImageDecoder((setting.size, setting.size)), transforms.ToTensor()],
            "label": [basics.IntDecoder(), transforms.ToTensor()],
        },
    )
    return lambda: _drain(loader)


def ffcv_jpeg(setting: Setting) -> harness.Pass:
    """FFCV, JPEGs at full size."""
    return _ffcv(setting, "jpg", None)


def ffcv_raw(setting: Setting) -> harness.Pass:
    """FFCV, decoded images with a longer side of at most 341 pixels: about a short side of 256."""
    return _ffcv(setting, "raw", 341)


def webdataset(setting: Setting) -> harness.Pass:
    """webdataset with Pillow: tar files, antialiased, uint8."""
    package = import_module("webdataset")
    from torchvision import transforms

    pattern = str(setting.scratch / "shard-%04d.tar")
    if not (setting.scratch / "shard-0000.tar").exists():
        with package.ShardWriter(pattern, maxcount=500, verbose=0) as sink:
            for number, path in enumerate(sorted(setting.data.glob("train/*/*.jpg"))):
                sink.write({"__key__": f"{number:06d}", "jpg": path.read_bytes(), "cls": b"0"})
    steps = transforms.Compose([transforms.RandomResizedCrop(setting.size, antialias=True), transforms.PILToTensor()])
    shards = sorted(str(path) for path in setting.scratch.glob("shard-*.tar"))
    data = package.WebDataset(shards, shardshuffle=False).shuffle(500).decode("pil").to_tuple("jpg", "cls")
    data = data.map_tuple(steps, int).batched(setting.batch_size)
    loader = torch.utils.data.DataLoader(data, batch_size=None, num_workers=setting.workers, persistent_workers=True)
    return lambda: _drain(loader)


def spdl(setting: Setting) -> harness.Pass:
    """SPDL's pipeline of threads around Pillow's decoder and torch's antialiased resize."""
    package = import_module("spdl.pipeline")
    from torchvision.transforms import RandomResizedCrop, functional

    torch.set_num_threads(1)
    paths = sorted(str(path) for path in setting.data.glob("train/*/*.jpg"))

    def load(path: str) -> torch.Tensor:
        with Image.open(io.BytesIO(Path(path).read_bytes())) as image:
            pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
        box = RandomResizedCrop.get_params(pixels, [0.08, 1.0], [3 / 4, 4 / 3])
        cut: torch.Tensor = functional.resized_crop(pixels, *box, [setting.size, setting.size], antialias=True)
        return cut

    def one_pass() -> int:
        random.shuffle(paths)
        builder = package.PipelineBuilder().add_source(paths).pipe(load, concurrency=setting.workers)
        pipeline = builder.aggregate(setting.batch_size, drop_last=True).pipe(torch.stack).add_sink(4)
        running = pipeline.build(num_threads=setting.workers)
        with running.auto_stop():
            return sum(len(batch) for batch in running)

    return one_pass


PEERS = (
    harness.Contender("torchvision", "torchvision reference (Pillow, float32)", "antialiased", torchvision_reference),
    harness.Contender("torchvision_uint8", "torchvision decode_jpeg, uint8", "antialiased", torchvision_uint8),
    harness.Contender("webdataset", "webdataset, Pillow, uint8", "antialiased", webdataset),
    harness.Contender("spdl", "SPDL, Pillow, uint8", "antialiased", spdl),
    harness.Contender("dali_cpu", "DALI on the CPU", "antialiased", dali_cpu),
    harness.Contender("dali_cpu_fast", "DALI on the CPU, fast settings", "not antialiased", dali_cpu_fast),
    harness.Contender("ffcv_jpeg", "FFCV, JPEGs at full size", "area-averaged, fast DCT", ffcv_jpeg),
    harness.Contender("ffcv_raw", "FFCV, raw, at most 341 px", "area-averaged, from a reduced image", ffcv_raw),
)
