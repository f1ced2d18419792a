"""The plan by table: precedence of layers, and each machine's fallbacks, warnings and refusals."""

from __future__ import annotations

from typing import Any

import hypothesis
import msgspec
import pytest
from fakes.plans import CPU, gpu, note, plan_of
from hypothesis import given
from hypothesis import strategies as st

from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration.settings import table
from gputrain.engine.estimates.host_memory import DataFacts
from gputrain.engine.estimates.updates_per_epoch import Rate
from gputrain.engine.hardware.machine import Machine
from gputrain.engine.planning.plan import DEFAULT, THIS_MACHINE, Plan, make_plan
from gputrain.engine.planning.plan_draft import SettingsLayer


def test_the_last_layer_wins_and_is_named() -> None:
    layers = [
        SettingsLayer("recipe test", {"batch_size": 64, "epochs": 3}, "a paper"),
        SettingsLayer("profile card", {"batch_size": 128, "num_workers": 3}),
        SettingsLayer("you", {"batch_size": 48}, own=True),
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
    ("auto", None, False, "auto", "auto: bf16 if the CPU supports it natively, else fp32"),
    ("fp16", None, False, "bf16", "fp16 needs a GPU: bf16 used"),
    ("fp16", (8, 6), False, "fp16", ""),
    ("bf16", (8, 0), False, "bf16", ""),
    ("bf16", (7, 5), False, "fp16", "bf16 needs compute capability 8.0, this GPU has 7.5: fp16 used"),
    ("bf16", (6, 1), False, "fp32", "bf16 needs compute capability 8.0, this GPU has 6.1: fp32 used"),
    ("fp16", (6, 1), False, "fp32", "fp16 is fast only from compute capability 7.0, this GPU has 6.1: fp32 used"),
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


@pytest.mark.parametrize(
    ("native", "used", "said"),
    [(True, "bf16", "auto: bf16 on this CPU"), (False, "fp32", "auto: fp32, because bf16 is emulated on this CPU")],
)
def test_precision_on_the_cpu(native: bool, used: str, said: str) -> None:
    plan = plan_of(msgspec.structs.replace(CPU, cpu_bf16=native), device="cpu", precision="auto")
    assert plan.config.speed.precision == used
    assert note(plan, "precision") == said


def test_unknown_compute_capability_keeps_the_precision_with_a_note() -> None:
    plan = plan_of(gpu(None), precision="bf16")
    assert plan.config.speed.precision == "bf16"
    assert "compute capability unknown" in note(plan, "precision")
    assert plan.config.speed.tf32


@pytest.mark.parametrize(("capability", "on"), [((7, 5), False), ((8, 0), True), ((12, 0), True)])
def test_tf32(capability: tuple[int, int], on: bool) -> None:
    assert plan_of(gpu(capability)).config.speed.tf32 == on


def test_changed_user_value_is_a_warning_changed_file_value_an_adjustment() -> None:
    by_user = plan_of(CPU, own=True, precision="fp16")
    assert "precision: fp16 needs a GPU: bf16 used" in by_user.warnings
    by_file = plan_of(CPU, precision="fp16", device="cpu")
    assert by_file.adjustments == ("precision: fp16 needs a GPU: bf16 used",)
    assert by_file.warnings == ()


def test_users_slow_fp16_is_kept_with_a_warning() -> None:
    assert plan_of(gpu((6, 1)), own=True, precision="fp16").warnings == (
        "precision: fp16 is fast only from compute capability 7.0, this GPU has 6.1; it saves memory, not time",
    )


def test_gpu_settings_are_off_without_a_gpu() -> None:
    plan = plan_of(CPU, device="cpu")
    data, speed = plan.config.data, plan.config.speed
    assert (data.pin_memory, data.non_blocking, speed.cudnn_benchmark, speed.tf32) == (False, False, False, False)
    assert note(plan, "pin_memory") == "pinned memory is for copies to a GPU: off"
    assert (plan.vram, plan.warnings, plan.adjustments, plan.refuses) == (None, (), (), ())


def test_gpu_settings_stay_on_with_a_gpu() -> None:
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


def test_cpu_profile_still_warns_about_an_unusable_gpu() -> None:
    trouble = msgspec.structs.replace(CPU, gpu_error="the NVIDIA driver is not loaded")
    (warning,) = plan_of(trouble, device="cpu").warnings
    assert warning.startswith("device: training on the CPU, because the GPU cannot be used (the NVIDIA driver is")
    assert plan_of(trouble, own=True, device="cpu").warnings == ()
    assert plan_of(trouble, own=True, profile="cpu", device="cpu").warnings == ()
    assert plan_of(CPU, device="cpu").warnings == ()


def test_compile_on_a_cpu_is_a_warning() -> None:
    assert any("compile:" in text for text in plan_of(CPU, compile=True).warnings)
    assert not any("compile:" in text for text in plan_of(gpu(), compile=True).warnings)


def test_compile_needs_compute_capability_7() -> None:
    by_file, by_user = (plan_of(gpu((6, 1)), own, compile=True) for own in (False, True))
    assert (by_file.config.speed.compile, by_user.config.speed.compile) == (False, False)
    text = "compile: torch.compile needs compute capability 7.0, this GPU has 6.1: off"
    assert text in by_file.adjustments
    assert text in by_user.warnings
    assert plan_of(gpu((7, 0)), compile=True).config.speed.compile


def test_validation_size_follows_the_crop_unless_given() -> None:
    assert plan_of(CPU, image_size=96).config.data.val_resize == 110
    assert plan_of(CPU, image_size=96, val_resize=96).config.data.val_resize == 96
    assert plan_of(CPU).config.data.val_resize == 256
    assert plan_of(CPU, image_size=96, val_resize=64).refuses == (
        "val_resize: 64 is smaller than the crop of image_size 96; at least 96",
    )


def test_image_data_sets_need_a_folder() -> None:
    assert "--data DIR" in plan_of(CPU, dataset="imagefolder").refuses[0]
    assert plan_of(CPU, dataset="imagefolder", data_dir="/data").refuses == ()


@pytest.mark.parametrize(
    ("dataset", "own", "refused"),
    [
        ("300wlp", {"mixup": 0.2}, "mixup: cannot be used with head poses; set mixup=0"),
        ("biwi", {"auto_augment": "randaugment"}, "auto_augment: cannot be used with head poses"),
        ("clips", {"cutmix": 0.5}, "cutmix: cannot be used with clips; set cutmix=0"),
        ("clips", {"label_smoothing": 0.1}, ""),
        ("imagefolder", {"mixup": 0.2, "cutmix": 0.2}, ""),
    ],
)
def test_settings_unsuitable_for_the_data_set_are_refused(dataset: str, own: dict[str, Any], refused: str) -> None:
    refuses = plan_of(CPU, own=True, dataset=dataset, data_dir="/data", **own).refuses
    assert [text.startswith(refused) for text in refuses] == ([True] if refused else [])


def test_facts_about_time_and_learning_rate() -> None:
    layer = SettingsLayer("recipe test", {"batch_size": 512, "lr": 0.5, "epochs": 2})
    facts, rate = DataFacts(train_images=51_200), Rate(512, 1024, "measured here")
    said = dict(make_plan([layer], gpu(), facts, rate).facts)
    assert said["time"] == "50 s to 1 min 40 s per epoch, 1 min 40 s to 3 min 20 s in total (measured here)"
    assert said["learning rate"] == "1 (0.5 at 256)"
    assert said["images per update"] == "512; 100 batches per epoch"
    assert dict(make_plan([layer], gpu(), facts).facts)["time"] == "unknown: no speed was measured"
    assert dict(make_plan([layer], gpu()).facts)["time"] == "unknown: the data has not been counted"


def test_given_warnings_and_refusals_are_kept() -> None:
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


# The examples are fast, but a busy machine may make any of them slow.
@hypothesis.settings(deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
@given(st.fixed_dictionaries({}, optional=SIZES), MACHINES, st.booleans())
def test_planning_is_idempotent_for_any_settings(values: dict[str, Any], machine: Machine, own: bool) -> None:
    plan = plan_of(machine, own, **values)
    settled = {row.setting: getattr(_section(plan, row.section), row.setting) for row in plan.rows}
    again = make_plan([SettingsLayer("you", settled, own=True)], machine)
    assert again.config == plan.config
    assert not [row.setting for row in again.rows if row.changed]


def _section(plan: Plan, section: str) -> object:
    return getattr(plan.config, section) if section else plan.config


def test_settings_without_effect_are_noted() -> None:
    assert "already in memory" in note(plan_of(CPU, dataset="cifar10", data_dir="/d", cache="disk"), "cache")
    plan = plan_of(CPU, own=True, dataset="custom", custom="mine:make", cache="ram", loader="threads")
    assert (plan.config.data.cache, plan.config.data.loader) == ("none", "auto")
    for name in ("cache", "loader"):
        assert any(line.startswith(f"{name}: ") and "no effect" in line for line in plan.warnings)
    assert not plan_of(CPU, dataset="custom", custom="mine:make", loader="processes").adjustments


def test_workers_are_processes_on_a_gpu() -> None:
    plan = plan_of(gpu())
    assert plan.config.data.loader == "processes"
    assert "delay kernel launches" in note(plan, "loader")
    assert plan_of(gpu(), own=True, loader="threads").config.data.loader == "threads"
    for machine, changes in ((CPU, {}), (gpu(), {"num_workers": 0}), (gpu(), {"dataset": "custom"})):
        assert plan_of(machine, **changes).config.data.loader == "auto"


def test_the_cost_follows_from_the_time() -> None:
    layers = [SettingsLayer("you", {"cost_per_hour": 3.0, "epochs": 10, "dataset": "demo"}, own=True)]
    known = make_plan(layers, CPU, DataFacts(train_images=36_000), Rate(100.0, 200.0, "test"))
    # 360,000 images at 200 and at 100 a second: half an hour and an hour.
    assert dict(known.facts)["cost"].startswith("1.50 to 3.00 in total")
    assert dict(make_plan(layers, CPU).facts)["cost"].startswith("3.00 per hour")
    assert "cost" not in dict(plan_of(CPU).facts)
