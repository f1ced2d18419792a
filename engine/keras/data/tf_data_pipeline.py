"""tf.data pipeline of a Keras run: decodes images on num_workers threads, in a fixed order.

Order, crops and flips are those of the PyTorch engine: functions of (seed, epoch, index). The first batch with a file
that can't be decoded is made again with another image in its place.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.dataloading import batch_sampler, random_resized_crop
from gputrain.engine.dataloading.batch_sampler import EpochBatches, Indices
from gputrain.engine.datasets.bad_image_list import bad_image_limit
from gputrain.engine.datasets.image_set import ImageSet
from gputrain.engine.events import LoaderStats
from gputrain.engine.keras.data.tf_transforms import view_of
from gputrain.engine.keras.library import tf

_FILE_ERRORS = (
    tf.errors.InvalidArgumentError,
    tf.errors.NotFoundError,
    tf.errors.PermissionDeniedError,
    tf.errors.FailedPreconditionError,
    tf.errors.UnknownError,
    tf.errors.DataLossError,
    tf.errors.UnimplementedError,
)
"""Errors of reading or decoding one file; any other error ends the run."""
_NAMED = 3
_PREAMBLE = ("Graph execution error", "Detected at node")
"""First lines of an error in a graph."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Samples of one step, in host memory."""

    pixels: Any
    """uint8 tensor (N, size, size, 3)."""
    labels: Any
    """int32 tensor (N,)."""
    flips: Any
    """bool tensor (N,): images to mirror on the device."""
    indices: Indices

    def __len__(self) -> int:
        return len(self.indices)


class Pipeline:
    """The batches of an image set."""

    def __init__(
        self, images: ImageSet, config: RunConfig, *, train: bool, on_bad: Callable[[list[tuple[str, str]]], None]
    ) -> None:
        """`on_bad` gets path and reason of each unreadable image once."""
        data = config.data
        self._images, self._config, self._train, self._on_bad = images, config, train, on_bad
        self._size = data.batch_size if train else data.val_batch_size or data.batch_size
        self._size = min(self._size, len(images))
        self._view = view_of(data, images.decoding, train=train)
        self._paths = tf.constant(
            [images.path(index).encode("utf-8", "surrogateescape") for index in range(len(images))]
        )
        # Traced once, not in each epoch.
        self._make = tf.function(self._sample, autograph=False)
        self._bad: set[int] = set()
        self._bad_new: list[tuple[str, str]] = []
        self._most_bad = bad_image_limit(data.max_bad_images, len(images))
        self._samples, self._stats_taken = 0, time.perf_counter()

    def __len__(self) -> int:
        return batch_sampler.batch_count(len(self._images), self._size, drop_last=self._train)

    def epoch(self, epoch: int, first: int = 0) -> Generator[Batch]:
        """The batches of an epoch from number `first` on. Raises BadInput at too many bad images."""
        batches, number = self._batches(epoch), first
        while number < len(batches):
            try:
                for indices, pixels in self._dataset(batches, epoch, number):
                    at = indices.numpy()
                    self._samples += len(at)
                    yield Batch(pixels, tf.constant(self._images.labels[at], tf.int32), self._flips(epoch, at), at)
                    number += 1
            except _FILE_ERRORS as error:
                # The pipeline is some batches ahead: search for the bad file from the next batch on.
                self._find_bad(batches, epoch, number, error)

    def _batches(self, epoch: int) -> EpochBatches:
        seed = self._config.seed
        return batch_sampler.batches(
            len(self._images), self._size, seed=seed, epoch=epoch, shuffle=self._train, drop_last=self._train
        )

    def _flips(self, epoch: int, indices: Indices) -> Any:
        if not self._train or self._config.data.augment == "none":
            return tf.zeros(len(indices), tf.bool)
        return tf.constant(random_resized_crop.draw_flips(self._config.seed, epoch, indices))

    def _dataset(self, batches: EpochBatches, epoch: int, first: int) -> Any:
        """Indices int64 (N,) and pixels uint8 (N, size, size, 3) of each batch from `first` on."""
        workers, ahead = self._config.data.num_workers, self._config.data.prefetch_factor

        def rows() -> Iterator[tuple[Indices, npt.NDArray[np.float64]]]:
            for number in range(first, len(batches)):
                yield self._rows(batches, epoch, number)

        signature = (tf.TensorSpec((None,), tf.int64), tf.TensorSpec((None, random_resized_crop.DRAWS), tf.float64))
        samples = tf.data.Dataset.from_generator(rows, output_signature=signature).unbatch()
        parallel = {"num_parallel_calls": workers, "deterministic": True} if workers else {}
        made = samples.map(self._make, **parallel).batch(self._size)
        options = tf.data.Options()
        options.autotune.enabled = False
        options.threading.private_threadpool_size = max(1, workers)
        return made.prefetch(workers * ahead if workers else 0).with_options(options)

    def _rows(self, batches: EpochBatches, epoch: int, number: int) -> tuple[Indices, npt.NDArray[np.float64]]:
        """Image indices of a batch, with the random numbers of each sample."""
        indices = batches.indices(number)
        if self._bad:
            indices = np.array([self._good(index, epoch) for index in indices.tolist()], np.int64)
        return indices, random_resized_crop.uniforms(self._config.seed, epoch, indices)

    def _good(self, index: int, epoch: int) -> int:
        """`index`, or its replacement if it is bad: the next good image after one drawn from (seed, epoch, index)."""
        if index not in self._bad:
            return index
        count = len(self._images)
        drawn = random_resized_crop.uniforms(
            self._config.seed, epoch, np.array([index]), 1, random_resized_crop.REPLACING
        )[0, 0]
        following = int(drawn * count)
        return next(at % count for at in range(following, following + count) if at % count not in self._bad)

    def _sample(self, index: Any, draws: Any) -> tuple[Any, Any]:
        return index, self._view.pixels(tf.gather(self._paths, index), draws)

    def _find_bad(self, batches: EpochBatches, epoch: int, first: int, error: Exception) -> None:
        """Decode the samples of the next batches one by one. Raises `error` if all of them are good."""
        for number in range(first, len(batches)):
            found: list[tuple[int, str]] = []
            indices, draws = self._rows(batches, epoch, number)
            for index, row in zip(indices.tolist(), draws, strict=True):
                try:
                    with tf.device("/CPU:0"):
                        # In a graph, where errors of Python functions become TensorFlow's.
                        self._make(tf.constant(index, tf.int64), tf.constant(row))
                except _FILE_ERRORS as why:
                    found.append((index, _reason(why)))
            if found:
                self._take_bad(found)
                return
        raise error

    def _take_bad(self, found: list[tuple[int, str]]) -> None:
        """Raises BadInput at too many."""
        new = [(self._images.path(index), why) for index, why in found if index not in self._bad]
        self._bad.update(index for index, _ in found)
        self._bad_new += new
        self._on_bad(new)
        if len(self._bad) > self._most_bad or len(self._bad) == len(self._images):
            named = "; ".join(f"{plain(path, 200)}: {why}" for path, why in new[:_NAMED])
            raise BadInput(
                f"max_bad_images: {len(self._bad)} images cannot be read, more than {self._most_bad} ({named} …)"
            )

    def take_stats(self) -> LoaderStats:
        """Statistics since the last call; tf.data has no accounting of its threads."""
        now = time.perf_counter()
        bad, self._bad_new = self._bad_new, []
        stats = LoaderStats(
            workers=self._config.data.num_workers,
            kind="threads" if self._config.data.num_workers else "inline",
            seconds=now - self._stats_taken,
            samples=self._samples,
            busy=None,
            cpu_ratio=None,
            run_delay=None,
            read_share=None,
            bytes_read=None,
            disk_bytes=None,
            bad_images=len(bad),
            bad_examples=tuple(f"{plain(path, 200)}: {why}" for path, why in bad[:_NAMED]),
        )
        self._samples, self._stats_taken = 0, now
        return stats


def _reason(error: Exception) -> str:
    """The reason in TensorFlow's message, without its frames and the operation's name."""
    lines = str(getattr(error, "message", error)).splitlines()
    # Frames are indented.
    lines = [line for line in lines if line.strip() and not line[0].isspace() and not line.startswith(_PREAMBLE)]
    text = (lines[0] if lines else "").rpartition("}} ")[2].partition(" [Op:")[0]
    text = re.sub(r"^[\w.]+Error: ", "", text)
    return plain(text, 200) or type(error).__name__
