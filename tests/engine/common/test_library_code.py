"""Frames of libraries and of this program, wherever it is installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from gputrain.engine.common.library_code import is_library
from gputrain.engine.probe import optimizer_hooks


@pytest.mark.parametrize(
    ("place", "library"),
    [
        (f"{optimizer_hooks.__file__}:64 in backward", True),
        (f"{Path(optimizer_hooks.__file__).resolve()}:64 in backward", True),
        ("/opt/env/lib/python3.12/site-packages/gputrain/engine/probe/page.py", True),
        ("/usr/lib/python3.12/threading.py", True),
        ("/home/me/my_train.py:25 in train", False),
        ("/home/me/engine/probe/optimizer_hooks.py", False),
    ],
)
def test_own_code_is_what_is_no_library_and_not_ours(place: str, library: bool) -> None:
    assert is_library(place) is library
