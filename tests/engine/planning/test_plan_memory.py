"""The plan's warnings and refusals about host memory, shared memory, GPU memory and workers; calibrations."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from fakes.calibrations import MADE, VALUES, made
from fakes.machines import with_gpu
from fakes.plans import CPU, gpu, plan_of

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.units import GIB, MIB
from gputrain.engine.estimates.host_memory import DataFacts
from gputrain.engine.hardware.machine import Machine
from gputrain.engine.planning.plan import THIS_MACHINE, Plan, make_plan
from gputrain.engine.planning.plan_draft import SettingsLayer

WORKERS = [
    # cores, asked, own, share, used
    (16.0, 12, False, 0.75, 12),
    (16.0, 16, False, 0.75, 12),
    (16.0, 16, False, 1.0, 16),
    (16.0, 16, True, 0.75, 16),
    (4.0, 8, False, 0.75, 3),
    (1.0, 8, False, 0.75, 1),
    (0.5, 2, False, 0.75, 1),
    (72.0, 8, False, 0.75, 8),
    (4.0, 0, False, 0.75, 0),
]


@pytest.mark.parametrize(("cores", "asked", "own", "share", "used"), WORKERS)
def test_workers_stay_within_their_share_of_the_usable_cores(
    cores: float, asked: int, own: bool, share: float, used: int
) -> None:
    layer = SettingsLayer("you", {"num_workers": asked}, own=own, worker_share=share)
    plan = make_plan([layer], gpu(cores=cores))
    assert plan.config.data.num_workers == used
    assert (plan.origins["num_workers"] == THIS_MACHINE) == (used != asked)


def test_too_many_workers_are_reported_with_the_limit() -> None:
    assert plan_of(gpu(cores=16.0), own=True, num_workers=20).warnings == (
        "num_workers: 20 is more than 75% of 16 usable cores; 12 leave cores for the trainer",
    )
    assert plan_of(gpu(cores=4.0), num_workers=8).adjustments == ("num_workers: 8 → 3: 75% of 4 usable cores",)


def test_buffer_larger_than_ram_is_refused_with_a_remedy() -> None:
    values = {"batch_size": 1024, "num_workers": 8, "prefetch_factor": 64, "loader": "threads"}
    plan = plan_of(gpu(cores=64.0), own=True, **values)
    assert plan.refuses == ("RAM 78 GiB of 62 GiB, 74 GiB of it the batch buffer: prefetch_factor 64 → 38",)
    assert plan_of(gpu(cores=64.0), own=True, **{**values, "prefetch_factor": 38}).warnings == ()


def test_large_buffer_is_a_warning() -> None:
    plan = plan_of(gpu(cores=64.0), batch_size=1024, num_workers=8, prefetch_factor=48, loader="threads")
    assert plan.refuses == ()
    assert plan.warnings == ("RAM 60 GiB of 62 GiB, 55 GiB of it the batch buffer: prefetch_factor 48 → 38",)


def test_remedy_lowers_prefetch_then_workers_then_batch() -> None:
    small = msgspec.structs.replace(CPU, memory_limit=4 * GIB, memory_available=3 * GIB, usable_cores=64.0)
    workers = plan_of(small, device="cpu", batch_size=1024, num_workers=40, prefetch_factor=1, loader="threads")
    assert workers.refuses == ("RAM 7.4 GiB of 4.0 GiB, 5.7 GiB of it the batch buffer: num_workers 40 → 10",)
    batch = plan_of(small, device="cpu", batch_size=65536, num_workers=1, prefetch_factor=1, loader="threads")
    assert batch.refuses[0].endswith(": batch_size 65536 → 10816")


DOCKER = msgspec.structs.replace(gpu(), shm_total=64 * MIB)


def test_only_custom_data_sets_need_shared_memory_for_batches() -> None:
    values: dict[str, Any] = {"batch_size": 256, "num_workers": 8}
    assert plan_of(DOCKER, **values, loader="processes").refuses == ()
    own = plan_of(DOCKER, **values, dataset="custom")
    (refusal,) = own.refuses
    assert refusal.startswith("/dev/shm has 64 MiB free, and the batches of a custom data set take")
    assert own.forceable == own.refuses
    assert plan_of(DOCKER, batch_size=256, num_workers=0, dataset="custom").refuses == ()


def of_images(machine: Machine, count: int, **values: Any) -> Plan:
    layer = SettingsLayer("you", {"cache": "ram", "dataset": "imagefolder", "data_dir": "/data", **values}, own=True)
    return make_plan([layer], machine, DataFacts(count, short_side=305))


def test_ram_cache_is_limited_by_shared_memory() -> None:
    assert of_images(DOCKER, 100).warnings == ()
    plan = of_images(DOCKER, 500)
    assert plan.refuses == ()
    (warning,) = plan.warnings
    assert warning.startswith("cache: ram keeps 32% of the images, 58 MiB of 177 MiB: /dev/shm has 64 MiB")
    part = next(part for part in plan.ram.parts if part.name == "image cache")
    assert part.bytes == pytest.approx(0.9 * 64 * MIB, rel=0.001)
    full = msgspec.structs.replace(DOCKER, shm_used=63 * MIB)
    assert of_images(full, 500).forceable == of_images(full, 500).refuses != ()
    assert "/dev/shm, which does not exist" in of_images(msgspec.structs.replace(DOCKER, shm_total=0), 500).refuses[0]


def test_partial_cache_is_a_warning_unless_cache_gib_limits_it() -> None:
    assert of_images(gpu(), 500, cache_gib=0.05).warnings == ()
    little = msgspec.structs.replace(gpu(), memory_available=20 * GIB)
    assert any("keeps 23% of the images" in text for text in of_images(little, 150_000).warnings)


def test_too_little_gpu_memory_is_refused_with_a_batch_that_fits() -> None:
    small = gpu(gib=12)
    plan = plan_of(small, model="resnet50", batch_size=256, precision="fp16")
    assert plan.refuses == (
        "VRAM 13 GiB of 12 GiB: batch_size 256 → 176; accumulation_steps 2 keeps the number of images per update",
    )
    fitting = plan_of(small, model="resnet50", batch_size=176, precision="fp16")
    assert (fitting.refuses, fitting.warnings) == ((), ())
    tight = plan_of(small, model="resnet50", batch_size=208, precision="fp16")
    assert tight.refuses == ()
    assert tight.warnings[0].startswith("VRAM 11 GiB of 12 GiB: batch_size 208 → 176")
    hopeless = plan_of(gpu(gib=0.5), model="vgg16", batch_size=1)
    assert hopeless.refuses[0].endswith(": use a smaller model or image_size")


def test_gpu_memory_of_other_programs_is_not_available() -> None:
    busy = with_gpu("Some GPU", 24, (8, 6), used=12)
    values: dict[str, Any] = {"model": "resnet50", "batch_size": 256, "precision": "fp16"}
    plan = plan_of(busy, **values)
    (refusal,) = plan.refuses
    assert refusal.startswith("VRAM 25 GiB of 24 GiB, 12 GiB of it in use now: batch_size 256 → 128")
    assert plan.forceable == plan.refuses
    assert plan.vram is not None
    assert plan.vram.parts[0].bytes == 12 * GIB
    assert plan_of(busy, **{**values, "batch_size": 128}).warnings == ()
    assert plan_of(gpu(), **values).refuses == ()
    full = plan_of(with_gpu("Some GPU", 24, (8, 6), used=23), **values)
    assert full.refuses[0].endswith("use a smaller model or image_size, or stop other programs on the GPU")
    unknown = plan_of(busy, model="my_net").vram
    assert unknown is not None
    assert unknown.parts[0].name == "in use now"


def test_measured_batch_fits_beside_other_programs() -> None:
    layer = SettingsLayer("recipe demo", {**VALUES, "precision": "fp32", "tf32": True})
    plan = make_plan([layer], with_gpu("Some GPU", 24, (8, 6), cores=8.0, used=12), calibrations=[MADE])
    said = dict(plan.facts)
    assert said["VRAM"] == "17 GiB of 24 GiB, 12 GiB of it in use now"
    assert said["largest batch"] == "160 (from the measured memory)"


def test_unknown_gpu_memory_or_model_is_reported() -> None:
    assert plan_of(gpu(gib=None), model="resnet50", batch_size=4096, num_workers=1).refuses == ()
    plan = plan_of(gpu(), model="my_net")
    assert plan.vram is not None
    assert plan.vram.total is None
    assert dict(plan.facts)["VRAM"] == "unknown: activations of my_net are not in the table of models"


def test_calibration_gives_speed_limiter_times_and_largest_batch() -> None:
    layer = SettingsLayer("recipe demo", {**VALUES, "precision": "fp32", "tf32": True})
    plan = make_plan([layer], gpu(cores=8.0), calibrations=[MADE])
    assert plan.forecast is not None
    assert plan.forecast.rate == pytest.approx(380)
    said = dict(plan.facts)
    assert said["speed"] == "353 to 407 img/s, limited by the workers (alone: workers 400, step 1000)"
    assert said["largest batch"] == "337 (from the measured memory)"
    assert said["images per update"] == "64; 100 batches an epoch"
    assert said["time"] == "17 s to 19 s per epoch, 2 min 47 s to 3 min 12 s in total (calibrated on this machine)"
    assert said["VRAM"] == "5.0 GiB of 24 GiB"
    assert plan.vram is not None
    assert [part.name for part in plan.vram.parts] == ["measured"]


@pytest.mark.parametrize(("others", "mentioned"), [(None, False), (1.5, False), (2.0, True)])
def test_calibration_beside_other_programs_is_mentioned(others: float | None, mentioned: bool) -> None:
    layer = SettingsLayer("recipe demo", VALUES)
    facts = dict(make_plan([layer], gpu(cores=8.0), calibrations=[made(others=others)]).facts)
    text = "while other programs used 2.0 cores; calibrate again without them"
    assert facts.get("measured") == (text if mentioned else None)


def test_measured_memory_refuses_a_batch_for_an_unknown_model() -> None:
    layer = SettingsLayer("recipe demo", {**VALUES, "batch_size": 512})
    plan = make_plan([layer], gpu(cores=8.0), calibrations=[MADE])
    assert any("VRAM 33 GiB of 24 GiB: batch_size 512 → 288" in text for text in plan.refuses), plan.refuses


def test_calibration_with_other_settings_is_not_used() -> None:
    layer = SettingsLayer("recipe demo", {**VALUES, "model": "resnet18", "image_size": 64})
    plan = make_plan([layer], gpu(cores=8.0), calibrations=[MADE])
    assert plan.forecast is None
    said = dict(plan.facts)["speed"]
    assert said.startswith("unknown: calibrated with other settings (")
    assert "image_size 224 → 64" in said


def test_force_overrules_memory_estimates_only() -> None:
    values = {"model": "resnet50", "batch_size": 4096, "dataset": "imagefolder"}
    plan = plan_of(gpu(), own=True, **values)
    assert [text.split()[0] for text in plan.refuses] == ["data_dir:", "VRAM"]
    assert plan.forceable == plan.refuses[1:]
    with pytest.raises(BadInput) as caught:
        plan.overruled(force=True)
    assert str(caught.value) == plan.refuses[0]
    with pytest.raises(BadInput, match="VRAM"):
        plan.overruled(force=False)
    only = plan_of(gpu(), own=True, model="resnet50", batch_size=4096)
    assert only.overruled(force=True) == only.refuses != ()
    with pytest.raises(BadInput, match="--force starts anyway"):
        only.overruled(force=False)
    again = plan_of(gpu(), own=True, **values, gradient_checkpointing=True)
    assert again.forceable == ()
    assert any(text.startswith("VRAM") for text in again.warnings)
