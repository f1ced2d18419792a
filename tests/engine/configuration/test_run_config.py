"""RunConfig crosses process borders unchanged and refuses what it does not know."""

from __future__ import annotations

import msgspec
import pytest

from gputrain.engine.configuration.setting_definitions import RunConfig


def test_it_survives_json_unchanged() -> None:
    config = RunConfig(name="äöü 🙂", epochs=3)
    assert msgspec.json.decode(msgspec.json.encode(config), type=RunConfig) == config


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="batchsize"):
        msgspec.json.decode(b'{"data": {"batchsize": 3}}', type=RunConfig)
