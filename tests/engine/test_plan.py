"""The plan by table: which layer wins, what each machine changes, warns of and refuses, and in which words."""

from __future__ import annotations

from typing import Any

import hypothesis
import msgspec
import pytest
from fakes.calibrations import MADE, VALUES, made
from hypothesis import given
from hypothesis import strategies as st

from gputrain.engine.adjust import Layer
from gputrain.engine.budget import DataFacts
from gputrain.engine.errors import BadInput
from gputrain.engine.machine import GpuInfo, Machine
from gputrain.engine.pace import Rate
from gputrain.engine.plan import DEFAULT, THIS_MACHINE, Plan, make_plan
from gputrain.engine.settings import table
from gputrain.engine.units import GIB, MIB

CPU = Machine(
    hostname="here",
    usable_cores=4.0,
    host_cores=64,
    cpu_model="Some CPU",
    memory_total=64 * GIB,
    memory_limit=62 * GIB,
    memory_available=59 * GIB,
    shm_total=31 * GIB,
    gpus=(),
    gpu_error="no NVIDIA driver",
    driver="",
)


def gpu(capability: tuple[int, int] | None = (8, 6), gib: float | None = 24, cores: float = 16.0) -> Machine:
    memory = None if gib is None else int(gib * GIB)
    card = GpuInfo(index=0, uuid="GPU-1", name="Some GPU", memory=memory, capability=capability, mig=False)
    return msgspec.structs.replace(CPU, usable_cores=cores, gpus=(card,), gpu_error="", driver="580.1")


def plan_of(machine: Machine, own: bool = False, **values: Any) -> Plan:
    return make_plan([Layer("you" if own else "recipe test", values, own=own)], machine)


def value(plan: Plan, name: str) -> str:
    return next(row.value for row in plan.rows if row.setting == name)


def note(plan: Plan, name: str) -> str:
    return next(row.note for row in plan.rows if row.setting == name)


def test_the_last_layer_wins_and_is_named() -> None:
    layers = [
        Layer("recipe test", {"batch_size": 64, "epochs": 3}, "a paper"),
        Layer("profile card", {"batch_size": 128, "num_workers": 3}),
        Layer("you", {"batch_size": 48}, own=True),
    ]
    plan = make_plan(layers, CPU)
    assert (plan.config.data.batch_size, plan.config.data.num_workers, plan.config.epochs) == (48, 3, 3)
    assert (plan.origins["batch_size"], plan.origins["num_workers"], plan.origins["epochs"]) == (
        "you",
        "profile card",
        "recipe test",
    )
    assert plan.origins["image_size"] == DEFAULT
    assert note(plan, "epochs") == "a paper"


def test_every_setting_has_one_row_with_its_origin() -> None:
    plan = plan_of(CPU)
    assert [row.setting for row in plan.rows] == list(table())
    assert list(plan.origins) == list(table())
    assert all(row.origin for row in plan.rows)


def test_a_bad_value_is_refused_at_once() -> None:
    with pytest.raises(BadInput, match="batch_size must be ≥ 1, got 0"):
        plan_of(CPU, batch_size=0)
    with pytest.raises(BadInput, match="unknown setting 'batchsize'; did you mean 'batch_size'"):
        plan_of(CPU, batchsize=1)


PRECISION = [
    # asked, capability (None: no GPU), own, used, what the plan says
    ("auto", (9, 0), False, "bf16", "auto: bf16 on compute capability 9.0"),
    ("auto", (8, 0), False, "bf16", "auto: bf16 on compute capability 8.0"),
    ("auto", (7, 5), False, "fp16", "auto: fp16 on compute capability 7.5"),
    ("auto", (7, 0), False, "fp16", "auto: fp16 on compute capability 7.0"),
    ("auto", (6, 1), False, "fp32", "auto: fp32 on compute capability 6.1"),
    ("auto", None, False, "auto", "auto: bf16 where the CPU computes in it, else fp32"),
    ("fp16", None, False, "bf16", "fp16 needs a GPU: bf16 used"),
    ("fp16", (8, 6), False, "fp16", ""),
    ("bf16", (8, 0), False, "bf16", ""),
    ("bf16", (7, 5), False, "fp16", "bf16 needs compute capability 8.0, this GPU has 7.5: fp16 used"),
    ("bf16", (6, 1), False, "fp32", "bf16 needs compute capability 8.0, this GPU has 6.1: fp32 used"),
    ("fp16", (6, 1), False, "fp32", "fp16 is fast from compute capability 7.0, this GPU has 6.1: fp32 used"),
    ("fp16", (6, 1), True, "fp16", ""),
    ("fp32", (9, 0), False, "fp32", ""),
    ("bf16", None, False, "bf16", ""),
]


@pytest.mark.parametrize(("asked", "capability", "own", "used", "said"), PRECISION)
def test_precision(asked: str, capability: tuple[int, int] | None, own: bool, used: str, said: str) -> None:
    plan = plan_of(CPU if capability is None else gpu(capability), own, precision=asked)
    assert plan.config.speed.precision == used
    assert note(plan, "precision") == said
    assert (plan.origins["precision"] == THIS_MACHINE) == (used != asked and asked != "auto")


def test_an_unknown_capability_changes_nothing_and_says_so() -> None:
    plan = plan_of(gpu(None), precision="bf16")
    assert plan.config.speed.precision == "bf16"
    assert "compute capability unknown" in note(plan, "precision")
    assert plan.config.speed.tf32


@pytest.mark.parametrize(("capability", "on"), [((7, 5), False), ((8, 0), True), ((12, 0), True)])
def test_tf32(capability: tuple[int, int], on: bool) -> None:
    assert plan_of(gpu(capability)).config.speed.tf32 == on


def test_what_the_person_asked_for_and_cannot_have_is_a_warning_and_a_files_wish_is_not() -> None:
    mine = plan_of(CPU, own=True, precision="fp16")
    assert "precision: fp16 needs a GPU: bf16 used" in mine.warnings
    theirs = plan_of(CPU, precision="fp16", device="cpu")
    assert theirs.adjustments == ("precision: fp16 needs a GPU: bf16 used",)
    assert theirs.warnings == ()


def test_slow_fp16_is_kept_for_who_wants_it_with_a_warning() -> None:
    assert plan_of(gpu((6, 1)), own=True, precision="fp16").warnings == (
        "precision: fp16 is fast from compute capability 7.0, this GPU has 6.1; it saves memory, not time",
    )


def test_without_a_gpu_its_settings_are_off_and_say_why() -> None:
    plan = plan_of(CPU, device="cpu")
    data, speed = plan.config.data, plan.config.speed
    assert (data.pin_memory, data.non_blocking, speed.cudnn_benchmark, speed.tf32) == (False, False, False, False)
    assert note(plan, "pin_memory") == "page-locked memory is for copies to a GPU: off"
    assert (plan.vram, plan.warnings, plan.adjustments, plan.refuses) == (None, (), (), ())


def test_with_a_gpu_nothing_is_switched_off() -> None:
    plan = plan_of(gpu())
    assert not [row for row in plan.rows if row.changed]
    assert plan.vram is not None


def test_the_device() -> None:
    assert "no NVIDIA driver" in plan_of(CPU, device="cuda").refuses[0]
    assert "device: training on the CPU" in plan_of(CPU).warnings[0]
    assert note(plan_of(gpu()), "device") == "Some GPU"
    three = msgspec.structs.replace(gpu(), gpus=gpu().gpus * 3)
    assert note(plan_of(three), "device") == "Some GPU, one of 3 GPUs"
    on_purpose = plan_of(gpu(), device="cpu")
    assert on_purpose.vram is None
    assert on_purpose.warnings == ()
    assert dict(on_purpose.facts)["device"] == "CPU, 16 usable cores"


def test_compile_on_a_cpu_is_warned_of() -> None:
    assert any("compile:" in text for text in plan_of(CPU, compile=True).warnings)
    assert not any("compile:" in text for text in plan_of(gpu(), compile=True).warnings)


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
    layer = Layer("you", {"num_workers": asked}, own=own, worker_share=share)
    plan = make_plan([layer], gpu(cores=cores))
    assert plan.config.data.num_workers == used
    assert (plan.origins["num_workers"] == THIS_MACHINE) == (used != asked)


def test_too_many_workers_are_named_with_the_rule() -> None:
    assert plan_of(gpu(cores=16.0), own=True, num_workers=20).warnings == (
        "num_workers: 20 is more than 75% of 16 usable cores; 12 leave room for the trainer",
    )
    assert plan_of(gpu(cores=4.0), num_workers=8).adjustments == ("num_workers: 8 → 3: 75% of 4 usable cores",)


def test_a_buffer_beyond_the_memory_is_refused_with_the_setting_that_mends_it() -> None:
    values = {"batch_size": 1024, "num_workers": 8, "prefetch_factor": 64, "loader": "threads"}
    plan = plan_of(gpu(cores=64.0), own=True, **values)
    assert plan.refuses == ("RAM 78 GiB of 62 GiB, 74 GiB of it the batch buffer: prefetch_factor 64 → 38",)
    assert plan_of(gpu(cores=64.0), own=True, **{**values, "prefetch_factor": 38}).warnings == ()


def test_a_buffer_that_is_merely_large_is_a_warning() -> None:
    plan = plan_of(gpu(cores=64.0), batch_size=1024, num_workers=8, prefetch_factor=48, loader="threads")
    assert plan.refuses == ()
    assert plan.warnings == ("RAM 60 GiB of 62 GiB, 55 GiB of it the batch buffer: prefetch_factor 48 → 38",)


def test_when_prefetching_is_at_its_least_the_workers_and_then_the_batch_go() -> None:
    small = msgspec.structs.replace(CPU, memory_limit=4 * GIB, memory_available=3 * GIB, usable_cores=64.0)
    workers = plan_of(small, device="cpu", batch_size=1024, num_workers=40, prefetch_factor=1, loader="threads")
    assert workers.refuses == ("RAM 7.4 GiB of 4.0 GiB, 5.7 GiB of it the batch buffer: num_workers 40 → 10",)
    batch = plan_of(small, device="cpu", batch_size=65536, num_workers=1, prefetch_factor=1, loader="threads")
    assert batch.refuses[0].endswith(": batch_size 65536 → 10816")


def test_worker_processes_need_room_in_shared_memory() -> None:
    docker = msgspec.structs.replace(gpu(), shm_total=64 * MIB)
    plan = plan_of(docker, batch_size=256, num_workers=8, loader="processes")
    (refusal,) = plan.refuses
    assert refusal.startswith("loader: the workers' batches take 588 MiB of /dev/shm, which has 64 MiB; loader=threads")
    assert plan_of(docker, batch_size=256, num_workers=8, loader="threads").refuses == ()
    unknown = msgspec.structs.replace(gpu(), shm_total=None)
    assert plan_of(unknown, batch_size=256, num_workers=8, loader="processes").refuses == ()


def test_gpu_memory_that_does_not_suffice_is_refused_with_a_batch_that_fits() -> None:
    small = gpu(gib=12)
    plan = plan_of(small, model="resnet50", batch_size=256, precision="fp16")
    assert plan.refuses == (
        "VRAM 13 GiB of 12 GiB: batch_size 256 → 176; accumulation_steps 2 keeps the update's size",
    )
    fitting = plan_of(small, model="resnet50", batch_size=176, precision="fp16")
    assert (fitting.refuses, fitting.warnings) == ((), ())
    tight = plan_of(small, model="resnet50", batch_size=208, precision="fp16")
    assert tight.refuses == ()
    assert tight.warnings[0].startswith("VRAM 11 GiB of 12 GiB: batch_size 208 → 176")
    hopeless = plan_of(gpu(gib=0.5), model="vgg16", batch_size=1)
    assert hopeless.refuses[0].endswith(": a smaller model or image_size")


def test_unknown_gpu_memory_or_model_is_said_not_guessed() -> None:
    assert plan_of(gpu(gib=None), model="resnet50", batch_size=4096, num_workers=1).refuses == ()
    plan = plan_of(gpu(), model="my_net")
    assert plan.vram is not None
    assert plan.vram.total is None
    assert dict(plan.facts)["VRAM"] == "unknown: activations of my_net are not tabulated"


def test_validation_size_follows_the_crop_unless_given() -> None:
    assert plan_of(CPU, image_size=96).config.data.val_resize == 110
    assert plan_of(CPU, image_size=96, val_resize=96).config.data.val_resize == 96
    assert plan_of(CPU).config.data.val_resize == 256
    assert plan_of(CPU, image_size=96, val_resize=64).refuses == (
        "val_resize: 64 is smaller than the crop of image_size 96; at least 96",
    )


def test_images_need_a_folder() -> None:
    assert "--data DIR" in plan_of(CPU, dataset="imagefolder").refuses[0]
    assert plan_of(CPU, dataset="imagefolder", data_dir="/data").refuses == ()


def test_time_and_learning_rate_in_words() -> None:
    layer = Layer("recipe test", {"batch_size": 512, "lr": 0.5, "epochs": 2})
    facts, rate = DataFacts(train_images=51_200), Rate(512, 1024, "measured here")
    said = dict(make_plan([layer], gpu(), facts, rate).facts)
    assert said["time"] == "50 s to 1 min 40 s an epoch, 1 min 40 s to 3 min 20 s in all (measured here)"
    assert said["learning rate"] == "1 (0.5 at 256)"
    assert said["images per update"] == "512; 100 batches an epoch"
    assert dict(make_plan([layer], gpu(), facts).facts)["time"] == "unknown: no speed was measured"
    assert dict(make_plan([layer], gpu()).facts)["time"] == "unknown: the data has not been counted"


def test_foreign_warnings_and_refusals_are_kept() -> None:
    plan = make_plan([], gpu(), warnings=["first"], refusals=["second"])
    assert (plan.warnings, plan.refuses) == (("first",), ("second",))


SIZES = {
    "batch_size": st.integers(1, 65536),
    "num_workers": st.integers(0, 1024),
    "prefetch_factor": st.integers(1, 256),
    "image_size": st.integers(8, 4096),
    "loader": st.sampled_from(["auto", "threads", "processes"]),
    "precision": st.sampled_from(["auto", "fp32", "fp16", "bf16"]),
    "model": st.sampled_from(["resnet50", "vit_b_16", "simple_cnn"]),
    "accumulation_steps": st.integers(1, 4096),
}
MACHINES = st.builds(
    gpu,
    st.none() | st.sampled_from([(5, 2), (6, 1), (7, 5), (8, 9), (12, 0)]),
    st.none() | st.floats(0.1, 300),
    st.floats(0.1, 512),
) | st.just(CPU)


# No example is slow by itself; a busy machine makes any of them so.
@hypothesis.settings(deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
@given(st.fixed_dictionaries({}, optional=SIZES), MACHINES, st.booleans())
def test_any_plan_can_be_made_and_planned_again_without_another_change(
    values: dict[str, Any], machine: Machine, own: bool
) -> None:
    plan = plan_of(machine, own, **values)
    settled = {row.setting: getattr(_section(plan, row.section), row.setting) for row in plan.rows}
    again = make_plan([Layer("you", settled, own=True)], machine)
    assert again.config == plan.config
    assert not [row.setting for row in again.rows if row.changed]


def _section(plan: Plan, section: str) -> object:
    return getattr(plan.config, section) if section else plan.config


def test_a_calibration_gives_speed_limiter_times_and_a_batch_that_fits() -> None:
    layer = Layer("recipe demo", {**VALUES, "precision": "fp32", "tf32": True})
    plan = make_plan([layer], gpu(cores=8.0), calibrations=[MADE])
    assert plan.forecast is not None
    assert plan.forecast.rate == pytest.approx(380)
    said = dict(plan.facts)
    assert said["speed"] == "353 to 407 img/s, limited by the workers (alone: workers 400, step 1000)"
    assert said["largest batch"] == "337 fit, by measurement"
    assert said["images per update"] == "64; 100 batches an epoch"
    assert said["time"] == "17 s to 19 s an epoch, 2 min 47 s to 3 min 12 s in all (calibrated on this machine)"
    assert said["VRAM"] == "5.0 GiB of 24 GiB"
    assert plan.vram is not None
    assert [part.name for part in plan.vram.parts] == ["measured"]


@pytest.mark.parametrize(("others", "told"), [(None, False), (1.5, False), (2.0, True)])
def test_a_calibration_beside_other_programs_is_told(others: float | None, told: bool) -> None:
    layer = Layer("recipe demo", VALUES)
    facts = dict(make_plan([layer], gpu(cores=8.0), calibrations=[made(others=others)]).facts)
    text = "while other programs used 2.0 cores: calibrate again without them"
    assert facts.get("measured") == (text if told else None)


def test_measured_memory_refuses_a_batch_that_the_table_does_not_know() -> None:
    layer = Layer("recipe demo", {**VALUES, "batch_size": 512})
    plan = make_plan([layer], gpu(cores=8.0), calibrations=[MADE])
    assert any("VRAM 33 GiB of 24 GiB: batch_size 512 → 288" in text for text in plan.refuses), plan.refuses


def test_a_calibration_with_other_settings_is_not_used_and_says_why() -> None:
    layer = Layer("recipe demo", {**VALUES, "model": "resnet18", "image_size": 64})
    plan = make_plan([layer], gpu(cores=8.0), calibrations=[MADE])
    assert plan.forecast is None
    said = dict(plan.facts)["speed"]
    assert said.startswith("unknown: calibrated with other settings (")
    assert "image_size 224 → 64" in said


def test_estimates_of_memory_can_be_overruled_and_facts_cannot() -> None:
    values = {"model": "resnet50", "batch_size": 4096, "dataset": "imagefolder"}
    plan = plan_of(gpu(), own=True, **values)
    assert [text.split()[0] for text in plan.refuses] == ["data_dir:", "VRAM"]
    assert plan.forceable == plan.refuses[1:]
    again = plan_of(gpu(), own=True, **values, gradient_checkpointing=True)
    assert again.forceable == ()
    assert any(text.startswith("VRAM") for text in again.warnings)
