"""Other readers of shards, each configured as its own documentation shows, for the same random crops."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from harness import Pass
from loader_peers import Setting


def _drain(loader: Any) -> int:
    return sum(len(labels) for _, labels in loader)


def _crops(setting: Setting) -> Any:
    from torchvision import transforms

    return transforms.Compose([transforms.RandomResizedCrop(setting.size, antialias=True), transforms.PILToTensor()])


def webdataset(setting: Setting) -> Pass:
    """webdataset with Pillow, as its documentation shows: shuffled shards and a buffer of 500."""
    package = import_module("webdataset")
    shards = sorted(str(path) for path in (setting.scratch / "tar").glob("train-*.tar"))
    data = package.WebDataset(shards, shardshuffle=len(shards)).shuffle(500).decode("pil").to_tuple("jpg", "cls")
    data = data.map_tuple(_crops(setting), int).batched(setting.batch_size)
    loader = torch.utils.data.DataLoader(data, batch_size=None, num_workers=setting.workers, persistent_workers=True)
    return lambda: _drain(loader)


@dataclass(frozen=True, slots=True)
class _Cropped:
    """The transform of a data set of `datasets`."""

    crop: Any

    def __call__(self, rows: dict[str, Any]) -> dict[str, Any]:
        return {"pixels": [self.crop(image.convert("RGB")) for image in rows["image"]], "label": rows["label"]}


def _collate(rows: list[dict[str, Any]]) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.stack([row["pixels"] for row in rows]), torch.tensor([row["label"] for row in rows])


def hf_datasets(setting: Setting) -> Pass:
    """datasets with Pillow, random access through its memory-mapped Arrow copy of the Parquet files."""
    package = import_module("datasets")
    files = [str(path) for path in (setting.scratch / "snappy").glob("train-*.parquet")]
    data = package.load_dataset(
        "parquet", data_files=files, split="train", cache_dir=str(setting.scratch / "hf"), keep_in_memory=False
    )
    data.set_transform(_Cropped(_crops(setting)))
    loader = torch.utils.data.DataLoader(
        data,
        batch_size=setting.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=setting.workers,
        persistent_workers=True,
        collate_fn=_collate,
    )
    return lambda: _drain(loader)


class _Samples:
    """A sample of another library as crop and label."""

    def __init__(self, crop: Any) -> None:
        self._crop = crop

    def __call__(self, sample: dict[str, Any]) -> tuple[torch.Tensor, int]:
        image = sample["image"]
        image = image if isinstance(image, torch.Tensor) else image.convert("RGB")
        return self._crop(image), int(sample["label"])


class _CroppedBatch:
    """A batch of such samples."""

    def __init__(self, samples: _Samples) -> None:
        self._samples = samples

    def __call__(self, rows: list[dict[str, Any]]) -> tuple[torch.Tensor, torch.Tensor]:
        images, labels = zip(*map(self._samples, rows), strict=True)
        return torch.stack(images), torch.tensor(labels)


def litdata(setting: Setting) -> Pass:
    """LitData with its own JPEG decoder (torchvision's) and its own loader."""
    package = import_module("litdata")
    from torchvision.transforms import v2

    torch.set_num_threads(1)
    samples = _Samples(v2.RandomResizedCrop(setting.size, antialias=True))
    data = package.StreamingDataset(
        str(setting.scratch / "litdata" / "train"), shuffle=True, drop_last=True, transform=samples
    )
    loader = package.StreamingDataLoader(
        data, batch_size=setting.batch_size, num_workers=setting.workers, persistent_workers=True
    )
    return lambda: _drain(loader)


def mosaicml(setting: Setting) -> Pass:
    """MosaicML Streaming with Pillow, as its data sets of images do."""
    package = import_module("streaming")
    samples = _Samples(_crops(setting))

    data = package.StreamingDataset(
        local=str(setting.scratch / "mds" / "train"), shuffle=True, batch_size=setting.batch_size, num_canonical_nodes=1
    )
    loader: Any = torch.utils.data.DataLoader(
        data,
        batch_size=setting.batch_size,
        drop_last=True,
        num_workers=setting.workers,
        persistent_workers=True,
        collate_fn=_CroppedBatch(samples),
    )
    return lambda: _drain(loader)
