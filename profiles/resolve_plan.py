"""Builds the plan of a run from a recipe, a profile with its preset, and the user's settings, for one machine.

Later layers override earlier ones: defaults, recipe, profile, this machine (values that the profile leaves open),
preset, the recipe's requirements, the preset's settings for that recipe, the user.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from gputrain.engine.check import storage_check
from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.hugging_face_names import is_hub_name
from gputrain.engine.common.remote_urls import is_path, is_url, local_folder
from gputrain.engine.common.units import GIB
from gputrain.engine.configuration import engine_choice, settings, value_range
from gputrain.engine.configuration.sections.data_settings import AUTO, SHARDED
from gputrain.engine.datasets.image_count import count_data
from gputrain.engine.datasets.record_files import split_index
from gputrain.engine.datasets.shards import shard_patterns
from gputrain.engine.estimates import calibration_store
from gputrain.engine.estimates.host_memory import DataFacts
from gputrain.engine.estimates.updates_per_epoch import Rate
from gputrain.engine.estimates.worker_count import worker_limit
from gputrain.engine.hardware.machine import Machine
from gputrain.engine.monitor.disk import find_place
from gputrain.engine.planning import preflight
from gputrain.engine.planning.fallbacks import halves_precision, pick_gpu
from gputrain.engine.planning.model_preflight import ModelPlan, plan_model, with_model_layer
from gputrain.engine.planning.plan import Plan, make_plan
from gputrain.engine.planning.plan_draft import SettingsLayer
from gputrain.profiles import catalog
from gputrain.profiles.reference_speeds import reference_rate
from gputrain.profiles.schema import HardwareProfile, Preset, Recipe, derived_batch

_FP32 = ", as fp32 takes twice the memory (compute capability below 7.0)"
_PATHS = ("data_dir", "resume_from", "code_dir")


def resolve_plan(
    machine: Machine,
    *,
    recipe: str,
    profile: str | None = None,
    preset: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    data_dir: str | None = None,
    facts: DataFacts | None = None,
    rate: Rate | None = None,
    warnings: Iterable[str] = (),
) -> Plan:
    """The plan of a run. Without `profile`, the best one for `machine`; without `preset`, the profile's default.

    `rate` is a speed measured on this machine. Without it the profile's reference is used, if it is for the same GPU,
    model, batch size and preset. Raises BadInput for an unknown name or an invalid value; reasons why valid settings
    cannot run are in `Plan.refuses`.
    """
    chosen_recipe = catalog.load_recipe(recipe)
    name = profile or catalog.best(machine)
    chosen_profile = catalog.load_profile(name)
    chosen_preset = chosen_profile.preset(preset)
    own = {**({"data_dir": data_dir} if data_dir else {}), **(overrides or {})}
    if data_dir and chosen_recipe.settings.get("dataset", "demo") == "demo":
        # The user's folder replaces the demo's generated images.
        own.setdefault("dataset", "imagefolder")
    if data_dir:
        _choose_layout(own, chosen_recipe, data_dir)
    layers = [
        SettingsLayer("you", {"recipe": chosen_recipe.name}),
        SettingsLayer("you" if profile else "this machine", {"profile": chosen_profile.name}, own=bool(profile)),
        SettingsLayer("you" if preset else f"profile {name}", {"preset": chosen_preset.name}),
        *_file_layers(chosen_recipe, chosen_profile, chosen_preset, machine),
        SettingsLayer("you", {settings.find(key).name: value for key, value in own.items()}, own=True),
    ]
    if (own.get("custom") or ":" in str(own.get("model"))) and not own.get("code_dir"):
        layers.append(SettingsLayer("where you are", {"code_dir": "."}))
    layers = [SettingsLayer(y.origin, _absolute(y.values), y.source, y.own, y.worker_share) for y in layers]
    wanted = {**settings.flatten(settings.build({})), **{k: v for y in layers for k, v in _checked(y.values)}}
    missing = () if machine.assumed and not wanted["data_dir"] else preflight.preflight_problems(wanted)
    of_model = ModelPlan()
    if not missing:
        of_model = plan_model(wanted, {name for layer in layers if layer.own for name in layer.values})
        layers = with_model_layer(layers, of_model)
        wanted |= dict(of_model.layer.values) if of_model.layer else {}
    if facts is None and not missing:
        facts = count_data(wanted)
    group = facts.group if facts else 1
    doubts = () if missing else _choose_value_range(wanted, layers)
    if not missing and not machine.assumed:
        _choose_order(wanted, layers)
        doubts += _page_doubts(wanted)
    known = rate
    if known is None and not engine_choice.is_keras(wanted):  # references are of torch
        known = reference_rate(chosen_profile, chosen_preset, chosen_recipe, wanted, machine, group)
    made = calibration_store.load(machine, chosen_recipe.name)
    notes = (*chosen_recipe.renamed, *chosen_profile.renamed, *warnings, *doubts, *of_model.warnings)
    refusals = (*missing, *of_model.refusals)
    return make_plan(layers, machine, facts, known, notes, refusals, made, of_model.forceable, of_model.facts)


def _choose_layout(own: dict[str, Any], recipe: Recipe, data_dir: str) -> None:
    """Set the data set to shards where the folder has shards and no class folders, unless the user names one."""
    if own.get("dataset", recipe.settings.get("dataset")) != "imagefolder":
        return
    split = str(own.get("train_split", recipe.settings.get("train_split", "train")))
    if is_hub_name(data_dir):
        own["dataset"] = "hf"
        return
    if is_url(data_dir):
        from gputrain.engine.datasets.shards import shard_preview  # NumPy: no local layout needs it

        own["dataset"] = shard_preview.remote_layout(data_dir, split)
        return
    try:
        found = shard_patterns.layout_of(data_dir, split)
    except OSError:
        return  # the check of the layout names the folder
    if found:
        own["dataset"] = found


def _choose_order(wanted: Mapping[str, Any], layers: list[SettingsLayer]) -> None:
    """Add the order of shards that suits the storage to `layers` where it is ``auto``."""
    if wanted["dataset"] not in SHARDED or wanted["shuffle"] != AUTO:
        return
    if is_url(wanted["data_dir"]):
        note = "auto: remote shards come one after the other, ahead of their use"
        layers.append(SettingsLayer("this storage", {"shuffle": "shards"}, note))
        return
    if wanted["dataset"] in split_index.LISTED and split_index.is_compressed(
        wanted["data_dir"], wanted["train_split"], wanted["dataset"]
    ):
        note = "auto: compressed shards are unpacked one after the other, ahead of their use"
        layers.append(SettingsLayer("these shards", {"shuffle": "shards"}, note))
        return
    if wanted["dataset"] == "imagenet":
        note = "auto: the images of ImageNet's tars are sorted by class"
        layers.append(SettingsLayer("this data set", {"shuffle": "global"}, note))
        return
    place = find_place(local_folder(wanted["data_dir"]).expanduser())
    kind = storage_check.kind_of(place) if place else "unknown"
    chosen, why = ("shards", "random reads are slow") if kind in _SLOW_SEEKS else ("global", "random reads are fast")
    note = f"auto: {why} on this storage ({kind})" if kind != "unknown" else "auto: the kind of storage is unknown"
    layers.append(SettingsLayer("this storage", {"shuffle": chosen}, note))


def _page_doubts(wanted: Mapping[str, Any]) -> tuple[str, ...]:
    """A warning of Parquet files of which each image costs many."""
    if wanted["dataset"] != "parquet" or wanted["cache"] != "none":
        return ()
    from gputrain.engine.datasets.shards import shard_preview  # NumPy: no other data set needs it

    warning = shard_preview.page_warning(wanted)
    return (warning,) if warning else ()


_SLOW_SEEKS = ("hdd", "network")


def _choose_value_range(wanted: Mapping[str, Any], layers: list[SettingsLayer]) -> tuple[str, ...]:
    """Add the images' value range to `layers` where it is ``auto``; returns warnings about the range."""
    if not wanted["data_dir"]:
        return ()
    from gputrain.engine.datasets import value_range_scan  # NumPy and Pillow: not for every command

    found = value_range_scan.of_settings(wanted)
    if found is None:
        return ()
    if wanted["value_range"] != value_range.AUTO:
        return found.warnings(value_range.parse(wanted["value_range"]))
    if found.value_range is not None:
        layers.append(SettingsLayer("the images", {"value_range": str(found.value_range)}, found.note()))
    return found.warnings(found.value_range)


def _file_layers(recipe: Recipe, profile: HardwareProfile, preset: Preset, machine: Machine) -> Iterator[SettingsLayer]:
    """The layers of recipe, profile and preset, and the values that depend on the machine."""
    share = preset.worker_share or profile.worker_share
    yield SettingsLayer(f"recipe {recipe.name}", recipe.settings, recipe.source)
    yield SettingsLayer(f"profile {profile.name}", profile.settings, profile.source, worker_share=share)
    if "num_workers" not in profile.settings:
        workers = worker_limit(machine.usable_cores, share)
        source = f"{share:.0%} of {machine.usable_cores:g} usable cores"
        yield SettingsLayer("this machine", {"num_workers": workers}, source, worker_share=share)
    gpu = pick_gpu(machine, profile.match.device)
    memory = machine.gpu_memory(gpu) if gpu else None
    if preset.batch_per_gib and gpu and memory:
        per_gib = preset.batch_per_gib if halves_precision(gpu) else preset.batch_per_gib / 2
        source = f"{per_gib:g} images per GiB of {memory / GIB:.0f} GiB" + ("" if halves_precision(gpu) else _FP32)
        yield SettingsLayer("this machine", {"batch_size": derived_batch(per_gib, memory)}, source)
    yield SettingsLayer(f"preset {preset.name}", preset.settings, preset.source, worker_share=share)
    if gpu and not halves_precision(gpu) and profile.match.capability is None and "batch_size" in preset.settings:
        # The preset's batches are for mixed precision, because the profile has no compute capability.
        source = f"half of the preset's{_FP32}"
        yield SettingsLayer("this machine", {"batch_size": max(1, preset.settings["batch_size"] // 2)}, source)
    yield SettingsLayer(f"recipe {recipe.name}", recipe.requires, "the recipe requires it")
    if own := preset.recipes.get(recipe.name):
        yield SettingsLayer(f"preset {preset.name}", own, f"for {recipe.name} alone", worker_share=share)


def _absolute(values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` with absolute paths: the run may be started from another folder."""
    found = dict(values)
    for name in _PATHS:
        if (path := found.get(name)) and isinstance(path, str):
            found[name] = path if name == "data_dir" and not is_path(path) else str(_from_home(name, path).absolute())
    weights = found.get("weights")
    # `weights` may also be a name.
    if isinstance(weights, str) and weights and _from_home("weights", weights).is_file():
        found["weights"] = str(_from_home("weights", weights).absolute())
    return found


def _from_home(name: str, path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise BadInput(f"{name}: there is no home directory for '{path}'") from None


def _checked(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        yield name, settings.check(settings.find(name), value)
