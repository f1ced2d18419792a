"""Child process (``python -m``) that packs a data set into shards, for `jobs.pack_shards`."""

from __future__ import annotations

from pathlib import Path

from gputrain.engine.common import files
from gputrain.engine.common.errors import BadInput
from gputrain.engine.jobs.pack_shards import PackedShards, PackOrder
from gputrain.engine.processes.child_entry import serve_job
from gputrain.engine.processes.child_job import ProgressCallback
from gputrain.engine.processes.event_reporter import EventReporter
from gputrain.engine.processes.trainer_control import TrainerControl

_BAD_NAMED = 20


def _work(order: PackOrder, reporter: EventReporter, control: TrainerControl, tell: ProgressCallback) -> PackedShards:
    from gputrain.engine.datasets.bad_image_list import bad_image_limit
    from gputrain.engine.datasets.image_set import ImageSet
    from gputrain.engine.datasets.shard_formats.tar_samples import AUTO
    from gputrain.engine.datasets.shards import shard_index, shard_split
    from gputrain.engine.datasets.shards.shard_set import ShardSet
    from gputrain.engine.training.packing.pack_images import SplitPacker
    from gputrain.engine.training.readers import reader_registry
    from gputrain.engine.training.tasks.classification import Classification

    found = reader_registry.open_dataset(order.config, reporter, control)
    to = Path(order.to)
    _refuse_unsuited(found.train, is_classes=isinstance(found.task, Classification))
    try:
        to.mkdir(parents=True, exist_ok=True)
        names = "".join(f"{name}\n" for name in found.train.classes)
        files.write_atomic(to / shard_split.CLASSES, names.encode("utf-8"), files.READABLE)
    except (OSError, UnicodeError) as error:
        raise BadInput(f"--to: {to} cannot be written: {error}") from None
    images = shards = size = kept = encoded = 0
    bad: list[str] = []
    for name, split in (("train", found.train), ("val", found.val)):
        if split is None:
            continue
        assert isinstance(split, ImageSet)

        def progress(done: int, total: int, name: str = name) -> None:
            control.raise_if_stopped()
            tell(f"{name} images: {done} of {total}")

        packer = SplitPacker(split, order, name, bad_image_limit(order.config.data.max_bad_images, len(split)))
        packed = packer.run(progress)
        paths = tuple(str(to / shard) for shard in packed.shards)
        if paths:
            shard_index.ensure_index(ShardSet(order.format, paths, AUTO, AUTO))
        images, shards = images + packed.images, shards + len(paths)
        size += sum(Path(path).stat().st_size for path in paths)
        kept, encoded, bad = kept + packer.kept, encoded + packer.encoded, bad + packed.bad
    return PackedShards(
        shards=shards, images=images, bytes=size, kept=kept, encoded=encoded, bad=tuple(bad)[:_BAD_NAMED]
    )


def _refuse_unsuited(images: object, *, is_classes: bool) -> None:
    from gputrain.engine.datasets.image_set import ImageSet

    if not isinstance(images, ImageSet) or images.user_dataset is not None or images.pixels is not None:
        raise BadInput("these data are not read from image files: there is nothing to pack")
    if not is_classes or images.group != 1 or images.boxes is not None:
        raise BadInput("only single images with classes are packed; head poses and clips stay in their folders")


if __name__ == "__main__":
    serve_job(PackOrder, _work)
