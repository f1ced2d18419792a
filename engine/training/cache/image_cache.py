"""Image cache: decoded or re-encoded images in RAM or on disk, shared by all runs on the same data.

A cache is keyed by its content: names, sizes and modification times of the files, and the settings that change its
bytes. A sample always comes from the cached form of its image, even when that is being created: batches of the first
epoch are the same as with a full cache.
"""

from __future__ import annotations

import json
import os
import secrets
import stat
import struct
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from gputrain.engine.common import files
from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration import settings
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.dataloading.worker_accounting import BatchAccounting
from gputrain.engine.datasets.image_set import ImageSet
from gputrain.engine.estimates import cached_image_size
from gputrain.engine.training.cache import cache_capacity
from gputrain.engine.training.cache.cache_capacity import Place
from gputrain.engine.training.cache.cache_forms import CacheForm, JpegForm, RawForm
from gputrain.engine.training.cache.cache_key import content_key
from gputrain.engine.training.cache.cache_store import CacheEntry, CacheStore, remove_unused
from gputrain.engine.training.transforms import decode
from gputrain.engine.training.transforms.decode import Choose
from gputrain.engine.training.workers.fill_batch import read_image

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - the kernel's memory file system; our folder in it is private
_PLAN = "plan.json"
_DAMAGE = (ValueError, LookupError, struct.error)
"""Exceptions from damaged tiles."""


class CachedSource:
    """An `ImageSource` that caches images. Worker processes get a copy and open the store themselves."""

    def __init__(self, images: ImageSet, form: CacheForm, place: Place, folder: Path, plan: _CachePlan) -> None:
        self.place = place
        self.note = plan.note
        """What the cache keeps, as a sentence for the user."""
        self._images = images
        self._form = form
        self._folder = folder
        self._capacity = plan.capacity
        self._selected = cache_capacity.cached_subset(len(images), plan.share)
        self._run = 1 + secrets.randbits(62)
        self._store: CacheStore | None = None
        self._opening = threading.Lock()
        self._sync_thread: ThreadPoolExecutor | None = None
        self._sync_result: Future[None] | None = None

    def __getstate__(self) -> dict[str, object]:
        own = ("_store", "_opening", "_sync_thread", "_sync_result")
        return {name: value for name, value in self.__dict__.items() if name not in own}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._store, self._opening = None, threading.Lock()
        self._sync_thread = self._sync_result = None

    @property
    def store(self) -> CacheStore:
        """The cache's files, opened at the first use in a process. Raises BadInput."""
        with self._opening:
            if self._store is None:
                self._store = CacheStore(self._folder, len(self._images), self._capacity, self._run)
            return self._store

    def render(self, index: int, choose: Choose, out: torch.Tensor, meter: BatchAccounting) -> None:
        """See `ImageSource`."""
        store = self._store or self.store
        entry = store.get(index)
        if entry is not None:
            if self._render_cached(store, index, entry, choose, out, meter):
                meter.hit()
                return
            # Damaged on the disk: encode the file again.
            if store.drop(index, entry):
                meter.repaired()
        path = self._images.place(index)
        data = read_image(self._images, index, meter)
        if not self._selected[index]:
            decode.decode_into(data, path, choose, out, self._images.decoding)
            return
        cached = self._form.encode(data, path)
        store.put(index, cached.content, cached.width, cached.height)
        self._form.render(cached, choose, out)

    def _render_cached(
        self,
        store: CacheStore,
        index: int,
        entry: CacheEntry,
        choose: Choose,
        out: torch.Tensor,
        meter: BatchAccounting,
    ) -> bool:
        """Write the sample from its cache entry; False if the entry is damaged."""
        if not entry.checked and not store.is_whole(index, entry):
            return False
        try:
            self._form.render_stored(store, entry, choose, out, meter)
        except _DAMAGE:
            return False
        return True

    def prepare(self, index: int, meter: BatchAccounting) -> None:
        """Cache an image, unless it is already cached or not selected. Raises BadImage."""
        if self._selected[index] and self.store.get(index) is None:
            data = read_image(self._images, index, meter)
            cached = self._form.encode(data, self._images.place(index))
            self.store.put(index, cached.content, cached.width, cached.height)

    def wanted(self) -> npt.NDArray[np.int64]:
        """Indices of the images that the cache keeps."""
        return np.flatnonzero(self._selected)

    def commit(self) -> None:
        """Start to sync the cache to disk in a background thread; does nothing while an earlier sync runs.

        A disk may take minutes for the gigabytes of a first epoch. Raises the error of the previous sync (OSError).
        """
        if (
            self._store is None
            or self.place == "ram"
            or (self._sync_result is not None and not self._sync_result.done())
        ):
            return
        if self._sync_result is not None:
            self._sync_result.result()
        if self._sync_thread is None:
            self._sync_thread = ThreadPoolExecutor(1, thread_name_prefix="cache-sync")
        self._sync_result = self._sync_thread.submit(self._store.commit)

    def close(self) -> None:
        """Sync and close the files. A cache in memory is deleted with the last run that uses it."""
        if self._sync_thread is not None:
            self._sync_thread.shutdown()
            self._sync_thread = None
        if self._store is not None:
            self._store.close(remove=self.place == "ram")
            self._store = None


@dataclass(frozen=True, slots=True)
class _CachePlan:
    """How much a cache keeps; saved by its first run, so that later runs keep the same images."""

    share: float
    capacity: int
    note: str


def open_cache(
    images: ImageSet, config: RunConfig, *, train: bool, progress: Callable[[int, int], None] | None = None
) -> CachedSource | None:
    """The cache of a split under the settings; None for ``cache: none``. Raises BadInput if it cannot be created.

    `progress` is called with the files checked so far and their number.
    """
    data = config.data
    if data.cache == "none":
        return None
    form = form_of(data.cache_form, images, config, train=train)
    home = files.cache_home() / "images" if data.cache == "disk" else _memory_home()
    folder = home / content_key(images, form, progress)
    if data.cache == "ram":
        remove_unused(home)
    plan = _plan(images, form, data.cache, folder, data.cache_gib)
    source = CachedSource(images, form, data.cache, folder, plan)
    _ = source.store
    return source


def form_of(name: str, images: ImageSet, config: RunConfig, *, train: bool) -> CacheForm:
    """The cache format of that name for the images of a split."""
    if name == "jpeg":
        return JpegForm(images.decoding)
    return RawForm(_resolution(images, config, train=train), images.decoding)


def _resolution(images: ImageSet, config: RunConfig, *, train: bool) -> int:
    part = 1.0
    if images.boxes is not None and len(images):
        # Nine of ten faces keep their resolution. A box's shorter side counts, like an image's short side.
        sides = np.minimum(images.boxes[:, 2] - images.boxes[:, 0], images.boxes[:, 3] - images.boxes[:, 1])
        part = min(1.0, max(_SMALLEST_PART, float(np.quantile(sides, 0.1))))
    return cached_image_size.resolution(settings.flatten(config), train=train, part=part)


_SMALLEST_PART = 0.1
"""Share of an image's side: smaller faces do not make the cache larger."""


def _plan(images: ImageSet, form: CacheForm, place: Place, folder: Path, limit_gib: float) -> _CachePlan:
    written = folder / _PLAN
    try:
        values = json.loads(written.read_bytes())
        return _CachePlan(float(values["share"]), int(values["capacity"]), str(values["note"]))
    except (FileNotFoundError, NotADirectoryError):
        # The first run on this data. If the folder is bad, creating it raises.
        pass
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{written}: cannot be used ({error}); remove the folder {folder} and start again") from error
    made = cache_capacity.cache_capacity(images, form, place, folder, limit_gib)
    plan = _CachePlan(made.share, min(2 * made.needed, made.allowed), made.sentence)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        files.write_atomic(
            written, json.dumps({"share": plan.share, "capacity": plan.capacity, "note": plan.note}).encode()
        )
    except OSError as error:
        raise BadInput(f"the cache in {folder} cannot be made: {error.strerror or error}") from error
    return plan


def _memory_home() -> Path:
    """This user's folder in the memory file system. Raises BadInput if it belongs to another user."""
    home = SHARED_MEMORY / f"gputrain-{os.getuid()}"
    try:
        home.mkdir(mode=0o700, exist_ok=True)
        status = home.lstat()
    except OSError as error:
        raise BadInput(f"cache=ram: {home} cannot be made: {error.strerror or error}; set cache=disk") from error
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise BadInput(f"cache=ram: {home} belongs to somebody else; remove it or set cache=disk")
    return home
