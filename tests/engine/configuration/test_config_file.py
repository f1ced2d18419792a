"""config.yaml round-trips every setting and shows where each came from."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration import normalization, settings, value_range, yaml_file
from gputrain.engine.configuration.config_file import config_text, read_config, write_config
from gputrain.engine.configuration.sections.data_settings import AUTO, NORMALIZATION
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.configuration.settings import Setting


def test_a_written_file_reads_back_and_is_private(tmp_path: Path) -> None:
    config = settings.build({"batch_size": 48, "lr": 3e-5, "name": "it's: a #test", "data_dir": "/data/ä b"})
    path = tmp_path / "config.yaml"
    write_config(path, config, {"batch_size": "you"})
    assert read_config(path) == config
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_settings_are_grouped_by_section_with_their_origins() -> None:
    lines = config_text(settings.build({"batch_size": 48}), {"batch_size": "preset\nbalanced \x1b[31m"}).splitlines()
    data = lines.index("data:")
    found = next(i for i, line in enumerate(lines) if line.startswith("  batch_size: 48 "))
    assert data < found < lines.index("model:")
    assert lines[found].endswith("  # preset balanced ")
    assert sum(line.count(": ") for line in lines if not line.startswith("#")) == len(settings.table())


def test_a_read_only_folder_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        write_config(tmp_path / "none" / "config.yaml", RunConfig(), {})


def test_a_hand_edited_fault_is_named(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(config_text(RunConfig(), {}).replace("batch_size: 32", "batch_size: 0"))
    line = next(i for i, text in enumerate(path.read_text().splitlines(), 1) if text.startswith("  batch_size:"))
    with pytest.raises(BadInput, match=f"config.yaml:{line}: batch_size must be ≥ 1, got 0"):
        read_config(path)


def _values(setting: Setting) -> st.SearchStrategy[Any]:
    """Any value that the setting's own check lets pass."""
    meta = setting.meta
    if setting.choices:
        return st.sampled_from(setting.choices)
    if setting.kind is bool:
        return st.booleans()
    if setting.name == "hosts":
        words = st.from_regex(r"[a-z]{1,8}(@[a-z]{1,8})?(:[1-9][0-9]{0,3})?", fullmatch=True)
        return st.lists(words, max_size=4, unique=True).map(",".join)
    if setting.name in ("gpu_bandwidth", "network_bandwidth"):
        figures = st.floats(0.1, 900).map(lambda number: f"{number:.3f}GB/s")
        return st.sampled_from((AUTO, "nvlink4", "pcie4", "25GbE")) | figures
    if setting.name == "value_range":
        ranges = st.tuples(st.integers(-(2**40), 2**40), st.floats(0.25, 1e9)).map(lambda r: [r[0], r[0] + r[1]])
        return st.sampled_from(("auto", "bits")) | ranges.map(value_range.normalised)
    if setting.name in NORMALIZATION:
        numbers = st.tuples(*3 * [st.floats(0.001, 1, allow_nan=False)])
        return st.just(AUTO) | numbers.map(normalization.text_of)
    if setting.kind is str:
        text = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=80)
        return text.filter(lambda t: bool(t) or not (meta and meta.min_length))
    low, high = _bound(meta and meta.ge, meta and meta.gt), _bound(meta and meta.le, meta and meta.lt)
    if setting.kind is int:
        return st.integers(int(low or 0), int(high or 2**63 - 1))
    return st.floats(
        low or 0.0,
        high if high is not None else 1e18,
        allow_subnormal=False,
        exclude_min=bool(meta and meta.gt is not None),
        exclude_max=bool(meta and meta.lt is not None),
    )


def _bound(closed: float | None, opened: float | None) -> float | None:
    return closed if closed is not None else opened


CONFIGS = st.fixed_dictionaries({name: _values(setting) for name, setting in settings.table().items()})


@given(CONFIGS, st.text(max_size=60))
def test_every_configuration_round_trips(values: dict[str, Any], origin: str) -> None:
    config = settings.build(values)
    text = config_text(config, dict.fromkeys(settings.table(), origin))
    assert settings.build(yaml_file.read_settings(yaml_file.parse(Path("config.yaml"), text))) == config
