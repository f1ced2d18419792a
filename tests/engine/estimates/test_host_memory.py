"""Memory and time estimates against the A10G guide's published tables (ResNet-50 on an A10G, 16 cores, 62 GB)."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from gputrain.engine.common.units import GIB, MIB, duration, size
from gputrain.engine.configuration import settings
from gputrain.engine.estimates import gpu_memory, host_memory, updates_per_epoch
from gputrain.engine.estimates.host_memory import DataFacts
from gputrain.engine.estimates.updates_per_epoch import Rate

IMAGENET = DataFacts(train_images=1_281_167, val_images=50_000, short_side=375)


def seed_003(**changes: Any) -> dict[str, Any]:
    """The seed's final settings, flat."""
    own = {"model": "resnet50", "batch_size": 256, "num_workers": 12, "prefetch_factor": 3, "precision": "fp16"}
    return settings.flatten(settings.build({**own, "lr": 0.5, "epochs": 100, "compile": True, **changes}))


def ram(values: dict[str, Any], **changes: Any) -> host_memory.RamBudget:
    known: dict[str, Any] = {"limit": 62 * GIB, "in_use": 3 * GIB, "cuda": True, **changes}
    return host_memory.ram_budget(values, **known)


def test_batch_bytes_match_seed_003() -> None:
    found = ram(seed_003())
    assert found.batch_bytes_float32 == 154_140_672
    assert size(found.batch_bytes_float32) == "147 MiB"
    assert found.batch_bytes * 4 == found.batch_bytes_float32


def test_clip_batches_count_all_frames() -> None:
    clip, image = (ram(seed_003(dataset=name, clip_frames=8, batch_size=16)) for name in ("clips", "imagefolder"))
    assert clip.batch_bytes == 16 * image.batch_bytes
    found, plain = (
        gpu_memory.vram_budget(seed_003(dataset=name, batch_size=16), limit=24 * GIB)
        for name in ("clips", "imagefolder")
    )
    parts = [{part.name: part.bytes for part in made.parts}["activations"] for made in (found, plain)]
    assert parts[0] == pytest.approx(16 * parts[1], rel=1e-6)


def test_a_network_for_clips_has_an_encoder_for_each_stream() -> None:
    parts = {
        name: {part.name: part.bytes for part in gpu_memory.vram_budget(seed_003(**changes), limit=None).parts}
        for name, changes in {
            "clips": {"dataset": "clips", "model": "efficientnet_b0"},
            "images": {"dataset": "imagefolder", "model": "efficientnet_b0"},
        }.items()
    }
    # 10.8 million parameters, counted; the classifiers of the encoders are left out of the network.
    assert 10_769_914 * 4 <= parts["clips"]["weights"] <= 1.3 * 10_769_914 * 4
    assert parts["clips"]["weights"] > 2 * parts["images"]["weights"]


def test_samples_of_ones_own_are_taken_for_float32() -> None:
    own, ours = (ram(seed_003(dataset=name)) for name in ("custom", "imagefolder"))
    assert own.buffer == 4 * ours.buffer
    assert own.parts[2].note.endswith("(float32)")
    assert updates_per_epoch.scale_table(seed_003(dataset="custom"))[0].buffer == own.buffer


def test_recomputed_activations_are_an_upper_bound() -> None:
    notes = [part.note for part in gpu_memory.vram_budget(seed_003(gradient_checkpointing=True), limit=None).parts]
    assert any("upper bound" in note for note in notes)


@pytest.mark.parametrize(
    ("workers", "prefetch", "batches", "gigabytes"),
    [(32, 8, 256, 59), (16, 4, 64, 15), (12, 3, 36, 8), (8, 4, 32, 7), (8, 2, 16, 3.7), (16, 3, 48, 11)],
)
def test_the_seeds_buffer_table(workers: int, prefetch: int, batches: int, gigabytes: float) -> None:
    found = ram(seed_003(num_workers=workers, prefetch_factor=prefetch))
    assert found.batches == batches
    assert found.buffer_float32 / 1e9 == pytest.approx(gigabytes, abs=0.5)
    assert found.buffer == batches * 256 * 3 * 224 * 224


def test_the_seeds_total_of_about_13_gb_is_met_by_its_own_way_of_buffering() -> None:
    found = ram(seed_003(loader="threads"))
    assert (found.total - found.buffer + found.buffer_float32) / 1e9 == pytest.approx(13, abs=1)


@pytest.mark.parametrize(
    ("gpus", "total_batch", "workers", "gigabytes", "lr"),
    [(1, 256, 12, 8, 0.5), (2, 512, 24, 16, 1.0), (4, 1024, 48, 32, 2.0), (8, 2048, 96, 64, 4.0)],
)
def test_multi_gpu_table_of_seed_003(gpus: int, total_batch: int, workers: int, gigabytes: float, lr: float) -> None:
    row = next(row for row in updates_per_epoch.scale_table(seed_003()) if row.gpus == gpus)
    assert (row.total_batch, row.total_workers) == (total_batch, workers)
    assert row.scaled_lr == pytest.approx(lr)
    # The seed multiplies its rounded 8 GB; one GPU takes 8.28.
    assert row.buffer_float32 / 1e9 == pytest.approx(gigabytes, rel=0.04)
    assert row.buffer == gpus * 36 * 256 * 3 * 224 * 224


@pytest.mark.parametrize(("batch", "lr"), [(128, 0.25), (192, 0.375), (256, 0.5), (320, 0.625), (384, 0.75)])
def test_learning_rate_scales_with_the_batch(batch: int, lr: float) -> None:
    assert updates_per_epoch.update_counts(seed_003(batch_size=batch)).scaled_lr == pytest.approx(lr)


def test_accumulation_and_gpus_count_towards_the_update() -> None:
    found = updates_per_epoch.update_counts(seed_003(batch_size=64, accumulation_steps=2), gpus=4)
    assert found.total_batch == 512
    assert found.scaled_lr == pytest.approx(1.0)
    assert updates_per_epoch.update_counts(seed_003(batch_size=64, lr_batch_size=0)).scaled_lr == 0.5


def test_times_of_seed_003() -> None:
    values = seed_003()
    assert updates_per_epoch.update_counts(values, 1, IMAGENET).steps_per_epoch == 5004
    found = updates_per_epoch.eta(values, IMAGENET, Rate(0.8 * 256, 1.5 * 256, "the A10G guide"))
    assert found is not None
    assert [found.epoch_low / 60, found.epoch_high / 60] == pytest.approx([55, 105], abs=1)
    assert [found.total_low / 86400, found.total_high / 86400] == pytest.approx([4, 7], abs=0.5)


def test_no_images_give_no_batches() -> None:
    assert updates_per_epoch.update_counts(seed_003(), 1, DataFacts(0)).steps_per_epoch is None
    assert updates_per_epoch.update_counts(seed_003(), 1, DataFacts(10)).steps_per_epoch == 1


def test_eta_needs_count_and_speed_and_respects_max_steps() -> None:
    rate = Rate(100, 200, "measured")
    assert updates_per_epoch.eta(seed_003(), None, rate) is None
    assert updates_per_epoch.eta(seed_003(), IMAGENET, None) is None
    found = updates_per_epoch.eta(seed_003(max_steps=100), IMAGENET, rate)
    assert found is not None
    assert found.total_high == pytest.approx(100 * 256 / 100)


def test_gpu_memory_of_seed_003_is_in_its_measured_range() -> None:
    found = gpu_memory.vram_budget(seed_003(), limit=23 * GIB)
    assert found.total is not None
    assert 13e9 <= found.total <= 16e9
    assert found.total == sum(part.bytes for part in found.parts)
    parts = {part.name: part.bytes for part in found.parts}
    assert parts["weights"] == parts["gradients"] == parts["optimizer"] == 25_557_032 * 4
    assert parts["activations"] / 1e9 == pytest.approx(12, abs=1)


@pytest.mark.parametrize(
    ("changes", "name", "factor"),
    [
        ({"precision": "fp32"}, "activations", 85.9 / 43.8),
        ({"image_size": 112}, "activations", 0.25),
        ({"batch_size": 128}, "activations", 0.5),
        ({"optimizer": "adamw"}, "optimizer", 2.0),
        ({"momentum": 0.0}, "optimizer", 0.0),
        ({"optimizer": "adam"}, "optimizer", 2.0),
        ({"optimizer": "lamb"}, "optimizer", 2.0),
        ({"optimizer": "rmsprop"}, "optimizer", 2.0),
        ({"optimizer": "rmsprop", "momentum": 0.0}, "optimizer", 1.0),
        ({"ema_decay": 0.999}, "optimizer", 2.0),
    ],
)
def test_each_part_of_gpu_memory_follows_its_setting(changes: dict[str, Any], name: str, factor: float) -> None:
    before = {part.name: part.bytes for part in gpu_memory.vram_budget(seed_003(), limit=None).parts}
    after = {part.name: part.bytes for part in gpu_memory.vram_budget(seed_003(**changes), limit=None).parts}
    assert after[name] == pytest.approx(before[name] * factor, rel=1e-6)


def test_unknown_model_has_no_total() -> None:
    found = gpu_memory.vram_budget(seed_003(model="my_net"), limit=GIB)
    assert found.total is None
    assert "my_net" in found.source
    assert gpu_memory.largest_batch(seed_003(model="my_net"), GIB) is None


@pytest.mark.parametrize("gib", [8, 12, 23, 80])
def test_the_largest_batch_fits_and_one_percent_more_does_not(gib: int) -> None:
    best = gpu_memory.largest_batch(seed_003(), gib * GIB)
    assert best
    fits = gpu_memory.vram_budget(seed_003(batch_size=best), limit=None).total
    over = gpu_memory.vram_budget(seed_003(batch_size=best + max(1, best // 100)), limit=None).total
    assert fits is not None
    assert over is not None
    assert fits <= gib * GIB < over
    assert gpu_memory.largest_batch(seed_003(), 100 * MIB) == 0


@pytest.mark.parametrize(
    ("loader", "workers", "processes"),
    [("threads", 64, False), ("processes", 1, True), ("auto", 8, False), ("auto", 9, True), ("processes", 0, False)],
)
def test_only_worker_processes_count_their_own_memory(loader: str, workers: int, processes: bool) -> None:
    values = seed_003(loader=loader, num_workers=workers)
    assert host_memory.uses_processes(values) == processes
    parts = {part.name: part.bytes for part in ram(values).parts}
    assert parts.get("worker processes", 0) == (workers * host_memory.WORKER_PROCESS_BYTES if processes else 0)


def test_ram_cache_is_counted_when_the_data_is_known() -> None:
    facts = DataFacts(1000, val_images=50, file_bytes=110_000_000)
    raw = {part.name: part.bytes for part in ram(seed_003(cache="ram"), facts=facts).parts}
    jpeg = {part.name: part.bytes for part in ram(seed_003(cache="ram", cache_form="jpeg"), facts=facts).parts}
    # As large as 224 pixels of the smallest crop, 8 % of the area, need, but no larger than the files' images are.
    assert raw["image cache"] == (1000 * 792 * 792 + 50 * 256 * 256) * 4
    sized = ram(seed_003(cache="ram"), facts=replace(facts, short_side=375)).parts
    assert next(part.bytes for part in sized if part.name == "image cache") == (1000 * 375 * 375 + 50 * 256 * 256) * 4
    assert jpeg["image cache"] == 110_000_000
    assert "image cache" not in {part.name for part in ram(seed_003(cache="ram")).parts}
    assert "image cache" not in {part.name for part in ram(seed_003(), facts=facts).parts}


def test_too_large_cache_keeps_some_of_the_images() -> None:
    def part(**changes: Any) -> host_memory.Part:
        found = ram(seed_003(cache="ram", **changes), facts=IMAGENET, limit=52 * GIB, in_use=2 * GIB).parts
        return next(part for part in found if part.name == "image cache")

    assert part().bytes == pytest.approx(0.6 * 50 * GIB, rel=1e-6)
    assert part(cache_gib=10).bytes == pytest.approx(10 * GIB, rel=1e-6)
    assert part(cache_gib=10).note == "1% of the images, form raw"


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0.0 MiB"), (1.5 * MIB, "1.5 MiB"), (147 * MIB, "147 MiB"), (1.5 * GIB, "1.5 GiB"), (59 * GIB, "59 GiB")],
)
def test_sizes_in_words(count: float, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (8, "8 s"), (200, "3 min 20 s"), (59.6, "1 min 0 s"), (8040, "2 h 14 min"), (273_600, "3 d 4 h")],
)
def test_times_in_words(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("workers", "prefetch", "text"),
    [
        (12, 3, "12 workers × 3 batches × 37 MiB (uint8)"),
        (1, 1, "1 worker × 1 batch × 37 MiB (uint8)"),
        (0, 3, "no workers, 1 batch × 37 MiB (uint8)"),
    ],
)
def test_batch_buffer_in_words(workers: int, prefetch: int, text: str) -> None:
    parts = {part.name: part.note for part in ram(seed_003(num_workers=workers, prefetch_factor=prefetch)).parts}
    assert parts["batch buffer"] == text
