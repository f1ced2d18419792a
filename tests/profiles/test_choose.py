"""From names to a plan: which place wins, what the machine fills in, and whose figures serve as a forecast."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from fakes.machines import NO_GPU, with_gpu

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.units import GIB
from gputrain.engine.configuration.config_file import read_config, write_config
from gputrain.engine.estimates.host_memory import DataFacts
from gputrain.engine.estimates.updates_per_epoch import Rate
from gputrain.engine.planning.plan import Plan
from gputrain.profiles import catalog
from gputrain.profiles.resolve_plan import resolve_plan

CPU = msgspec.structs.replace(
    NO_GPU, usable_cores=2.0, memory_total=24 * GIB, memory_limit=24 * GIB, memory_available=22 * GIB
)


A10G = with_gpu("NVIDIA A10G", 22.5, (8, 6))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder that looks like data."""
    for split in ("train", "val"):
        (tmp_path / "data" / split / "rose").mkdir(parents=True)
        (tmp_path / "data" / split / "rose" / "1.jpg").touch()
    return tmp_path / "data"


def of(plan: Plan, *names: str) -> tuple[Any, ...]:
    """Values and origins of some settings."""
    rows = {row.setting: (row.value, row.origin) for row in plan.rows}
    return tuple(rows[name] for name in names)


def test_demo_runs_on_the_cpu_without_a_gpu() -> None:
    plan = resolve_plan(CPU, recipe="demo")
    assert (plan.config.recipe, plan.config.profile, plan.config.preset) == ("demo", "cpu", "balanced")
    assert of(plan, "recipe", "profile", "preset", "device") == (
        ("demo", "you"),
        ("cpu", "this machine"),
        ("balanced", "profile cpu"),
        ("cpu", "profile cpu"),
    )
    assert plan.refuses == ()
    assert plan.vram is None


@pytest.mark.parametrize(
    ("cores", "preset", "workers"),
    [(2.0, None, 1), (16.0, None, 8), (16.0, "conservative", 4), (16.0, "aggressive", 12), (0.5, None, 1)],
)
def test_cpu_workers_follow_the_usable_cores(cores: float, preset: str | None, workers: int) -> None:
    plan = resolve_plan(msgspec.structs.replace(CPU, usable_cores=cores), recipe="demo", preset=preset)
    assert plan.config.data.num_workers == workers
    assert plan.origins["num_workers"] == "this machine"


def test_precedence_of_preset_recipe_and_user() -> None:
    required = resolve_plan(A10G, recipe="demo")
    assert of(required, "batch_size") == (("64", "recipe demo"),)
    mine = resolve_plan(A10G, recipe="demo", overrides={"data.batch_size": 32})
    assert of(mine, "batch_size") == (("32", "you"),)


@pytest.mark.parametrize(
    ("preset", "batch", "workers", "prefetch", "compiled", "lr"),
    [
        ("conservative", 192, 8, 2, False, 0.375),
        ("balanced", 256, 12, 3, True, 0.5),
        ("aggressive", 320, 16, 4, True, 0.625),
    ],
)
def test_seed_003_on_its_own_machine(
    preset: str, batch: int, workers: int, prefetch: int, compiled: bool, lr: float, images: Path
) -> None:
    plan = resolve_plan(A10G, recipe="imagenet-resnet50", preset=preset, data_dir=str(images))
    data, speed = plan.config.data, plan.config.speed
    assert (data.batch_size, data.num_workers, data.prefetch_factor, speed.compile) == (
        batch,
        workers,
        prefetch,
        compiled,
    )
    assert speed.precision == "fp16"
    assert plan.updates.scaled_lr == pytest.approx(lr)
    assert of(plan, "batch_size", "lr") == ((str(batch), f"preset {preset}"), ("0.5", "recipe imagenet-resnet50"))
    assert (plan.refuses, plan.adjustments) == ((), ())


@pytest.mark.parametrize(
    ("profile", "recipe", "batches"),
    [
        # the utilization guide: 16 "increased from 12", "increase batch_size: 20 if VRAM allows"
        ("rtx-4500-ada-24gb", "deepfake-convlstm", {"conservative": 12, "balanced": 16, "aggressive": 20}),
        # the RTX 3090 guide: BIWI 64 recommended, "can go higher" 128; 300W-LP 96, 128, 256
        ("rtx-3090-24gb", "headpose-biwi", {"conservative": 64, "balanced": 64, "aggressive": 128}),
        ("rtx-3090-24gb", "headpose-300wlp", {"conservative": 96, "balanced": 128, "aggressive": 256}),
    ],
)
def test_batches_of_the_seeds_for_their_recipes(profile: str, recipe: str, batches: dict[str, int]) -> None:
    title = catalog.load_profile(profile).match.names[0]
    machine = with_gpu(title, 24.0, (8, 9) if "4500" in title else (8, 6), cores=72.0)
    for preset, batch in batches.items():
        plan = resolve_plan(machine, recipe=recipe, preset=preset)
        assert plan.config.profile == profile
        assert of(plan, "batch_size") == ((str(batch), f"preset {preset}"),)
    assert resolve_plan(machine, recipe=recipe, overrides={"batch_size": 7}).config.data.batch_size == 7


def test_preset_uses_fewer_workers_on_fewer_cores(images: Path) -> None:
    plan = resolve_plan(
        with_gpu("NVIDIA A10G", 22.5, (8, 6), cores=4.0), recipe="imagenet-resnet50", data_dir=str(images)
    )
    assert plan.config.data.num_workers == 3
    assert plan.adjustments == ("num_workers: 12 → 3: 75% of 4 usable cores",)


def test_reference_rate_only_for_the_same_training(images: Path) -> None:
    facts = DataFacts(train_images=1_281_167)
    known: dict[str, Any] = {"recipe": "imagenet-resnet50", "data_dir": str(images), "facts": facts}
    plan = resolve_plan(A10G, **known)
    assert plan.eta is not None
    assert plan.eta.source.startswith("the A10G guide")
    assert plan.eta.epoch_low == pytest.approx(5004 / 1.5)
    assert resolve_plan(A10G, **known, overrides={"model": "resnet18"}).eta is None
    assert resolve_plan(A10G, **known, overrides={"batch_size": 128}).eta is None
    assert resolve_plan(with_gpu("NVIDIA L4", 22.5, (8, 9)), profile="a10g-23gb", **known).eta is None
    measured = resolve_plan(A10G, **known, rate=Rate(500, 500, "measured here"))
    assert measured.eta is not None
    assert measured.eta.source == "measured here"


@pytest.mark.parametrize(
    ("gpu", "capability", "recipe", "preset", "train", "epochs", "hours"),
    [
        # the utilization guide: 800-1200 batches, 60 epochs of 2-3 s a batch: 30-60 h in its words, 27-60 h by these
        ("NVIDIA RTX 4500 Ada Generation", (8, 9), "deepfake-convlstm", None, 16 * 16 * 1000, 60, (33.3, 50.5)),
        # the RTX 3090 guide: 300-500 images/s (its 2.5 h would be 580), with 256 in 1.5 h; BIWI's 12,000 in 20 min
        ("NVIDIA GeForce RTX 3090", (8, 6), "headpose-300wlp", None, 104_000, 50, (2.88, 4.81)),
        ("NVIDIA GeForce RTX 3090", (8, 6), "headpose-300wlp", "aggressive", 104_000, 50, (1.49, 1.51)),
        ("NVIDIA GeForce RTX 3090", (8, 6), "headpose-biwi", None, 12_000, 50, (0.332, 0.332)),
        # the RTX 3060 guide: 8 s for 5 epochs of 100 images, here of 96 as the last batch is left out
        ("NVIDIA GeForce RTX 3060", (8, 6), "simple-cnn", "conservative", 100, 5, (7.68 / 3600, 7.68 / 3600)),
    ],
)
def test_reference_rates_of_the_seeds_give_their_times(
    gpu: str,
    capability: tuple[int, int],
    recipe: str,
    preset: str | None,
    train: int,
    epochs: int,
    hours: tuple[float, float],
    tmp_path: Path,
) -> None:
    machine = with_gpu(gpu, 12.0 if "3060" in gpu else 24.0, capability, cores=72.0)
    facts = DataFacts(train_images=train, group=16 if recipe == "deepfake-convlstm" else 1)
    known: dict[str, Any] = {"recipe": recipe, "preset": preset, "facts": facts, "data_dir": str(tmp_path)}
    plan = resolve_plan(machine, **known, overrides={"epochs": epochs})
    assert plan.eta is not None
    assert " guide, " in plan.eta.source or plan.eta.source.endswith(" guide")
    found = (plan.eta.total_low / 3600, plan.eta.total_high / 3600)
    assert found == pytest.approx(hours, rel=0.02)
    # Another network, or more frames, is another training.
    assert resolve_plan(machine, **known, overrides={"model": "resnet18"}).eta is None


@pytest.mark.parametrize(
    ("gib", "preset", "batch"), [(8, "balanced", 48), (8, "aggressive", 80), (48, "balanced", 288), (0.5, None, 8)]
)
def test_unknown_gpu_gets_a_batch_by_memory(gib: float, preset: str | None, batch: int) -> None:
    machine = with_gpu("NVIDIA Future 1", gib, (13, 0), cores=64.0)
    plan = resolve_plan(machine, recipe="resnet50-imagefolder", preset=preset)
    assert plan.config.profile == "unknown-nvidia"
    assert of(plan, "batch_size") == ((str(batch), "this machine"),)
    assert plan.config.speed.precision == "bf16"


def test_unknown_gpu_with_unified_memory_gets_a_batch_by_ram() -> None:
    machine = with_gpu("NVIDIA GB10", None, (12, 1), cores=20.0, unified=True)  # 62 GiB of RAM
    plan = resolve_plan(machine, recipe="resnet50-imagefolder", preset="balanced")
    assert plan.config.profile == "unknown-nvidia"
    assert of(plan, "batch_size") == (("368", "this machine"),)
    unknown = with_gpu("NVIDIA GB10", None, (12, 1), cores=20.0)
    assert of(resolve_plan(unknown, recipe="resnet50-imagefolder"), "batch_size") != (("368", "this machine"),)
    reasons = {match.name: match.reason for match in catalog.rank(machine)}
    assert "NVIDIA GB10, unified memory" in reasons["unknown-nvidia"]


@pytest.mark.parametrize(
    ("card", "gib", "preset", "batch"),
    [
        ("NVIDIA GeForce GTX 1070", 8, "balanced", 24),
        ("NVIDIA GeForce GTX 1070", 8, "aggressive", 40),
        ("NVIDIA GeForce GTX 1070 with Max-Q Design", 8, "balanced", 40),
        ("NVIDIA GeForce GTX 1070 with Max-Q Design", 8, "aggressive", 48),
        ("NVIDIA GeForce GTX 1080 Ti", 11, None, None),
    ],
)
def test_gpu_without_half_precision_gets_half_the_batch(
    card: str, gib: float, preset: str, batch: int | None, images: Path
) -> None:
    plan = resolve_plan(with_gpu(card, gib, (6, 1)), recipe="resnet50-imagefolder", preset=preset, data_dir=str(images))
    assert plan.refuses == ()
    assert plan.config.speed.precision == "fp32"
    assert batch is None or of(plan, "batch_size") == ((str(batch), "this machine"),)


def test_gpu_profile_without_a_gpu_is_a_warning(images: Path) -> None:
    plan = resolve_plan(CPU, recipe="resnet50-imagefolder", profile="rtx-3090-24gb", data_dir=str(images))
    assert any("training on the CPU" in text for text in plan.warnings)
    assert "precision: fp16 needs a GPU: bf16 used" in plan.adjustments


def test_unusable_gpu_is_a_warning_unless_the_profile_was_chosen() -> None:
    trouble = msgspec.structs.replace(CPU, gpu_error="CUDA_VISIBLE_DEVICES='' hides the GPU")
    assert any("training on the CPU" in text for text in resolve_plan(trouble, recipe="demo").warnings)
    assert resolve_plan(trouble, recipe="demo", profile="cpu").warnings == ()


def test_paths_are_made_absolute(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(images.parent)
    monkeypatch.setenv("HOME", str(images.parent))
    for given in ("data", "~/data"):
        plan = resolve_plan(CPU, recipe="resnet50-imagefolder", data_dir=given)
        assert plan.config.data.data_dir == str(images)
        assert plan.origins["data_dir"] == "you"
    with pytest.raises(BadInput, match="no home directory"):
        resolve_plan(CPU, recipe="resnet50-imagefolder", data_dir="~no-such-user-here/x")


def test_missing_data_is_refused_before_the_start(images: Path) -> None:
    def refusal(data_dir: Path, **overrides: Any) -> str:
        return resolve_plan(CPU, recipe="resnet50-imagefolder", data_dir=str(data_dir), overrides=overrides).refuses[0]

    (images / "file").touch()
    assert refusal(images / "none").startswith(f"data_dir: {images / 'none'} does not exist")
    assert refusal(images / "file").startswith(f"data_dir: {images / 'file'} is not a folder")
    assert refusal(images, train_split="training").startswith("train_split: there is no folder 'training' in data_dir")
    assert "--data DIR" in resolve_plan(CPU, recipe="resnet50-imagefolder").refuses[0]


def test_data_dir_with_the_recipes_data_set(images: Path) -> None:
    for recipe, dataset in (("demo", "imagefolder"), ("simple-cnn", "imagefolder"), ("cifar10", "cifar10")):
        assert resolve_plan(CPU, recipe=recipe, data_dir=str(images)).config.data.dataset == dataset
    plan = resolve_plan(CPU, recipe="demo", data_dir=str(images), overrides={"dataset": "cifar10"})
    assert plan.config.data.dataset == "cifar10"


def test_user_code_is_found_from_any_folder(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(images)
    for own in ({"custom": "mine:make"}, {"model": "nets:build"}):
        plan = resolve_plan(CPU, recipe="custom", overrides={"custom": "mine:make", **own})
        assert plan.config.data.code_dir == str(images)
    assert resolve_plan(CPU, recipe="simple-cnn", data_dir=str(images)).config.data.code_dir == ""
    plan = resolve_plan(CPU, recipe="custom", overrides={"custom": "mine:make", "code_dir": "train"})
    assert plan.config.data.code_dir == str(images / "train")
    assert plan.refuses[0].startswith(f"custom: there is no module 'mine' in {images / 'train'}")


def test_weights_path_becomes_absolute_and_a_name_stays(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(images)
    (images / "mine.pth").touch()
    for given, expected in (("mine.pth", str(images / "mine.pth")), ("DEFAULT", "DEFAULT")):
        plan = resolve_plan(CPU, recipe="simple-cnn", data_dir=str(images), overrides={"weights": given})
        assert plan.config.model.weights == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"recipe": "demmo"}, "unknown recipe 'demmo'; did you mean 'demo'"),
        ({"recipe": "demo", "profile": "gpu"}, "unknown profile 'gpu'"),
        ({"recipe": "demo", "profile": "cpu", "preset": "agressive"}, "did you mean 'aggressive'"),
        ({"recipe": "demo", "overrides": {"batchsize": 1}}, "unknown setting 'batchsize'"),
        ({"recipe": "demo", "overrides": {"epochs": 0}}, "epochs must be ≥ 1, got 0"),
        ({"recipe": "demo", "overrides": {"data_dir": 3}}, "data_dir must be a text, got 3"),
    ],
)
def test_wrong_name_or_value_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput) as caught:
        resolve_plan(CPU, **arguments)
    assert message in str(caught.value)


def test_plan_survives_json(tmp_path: Path) -> None:
    plan = resolve_plan(CPU, recipe="demo", overrides={"name": "again", "lr": 0.05})
    path = tmp_path / "config.yaml"
    write_config(path, plan.config, plan.origins)
    assert read_config(path) == plan.config
    assert "# you" in next(line for line in path.read_text().splitlines() if line.strip().startswith("lr:"))


def test_plan_can_be_encoded_as_json() -> None:
    plan = resolve_plan(A10G, recipe="demo")
    assert msgspec.json.decode(msgspec.json.encode(plan))["config"]["recipe"] == "demo"
