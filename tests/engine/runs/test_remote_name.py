"""``HOST:RUN``: what is remote, what is local, and what never reaches ssh."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gputrain.engine.common.errors import BadInput
from gputrain.engine.runs.remote_name import RemoteName, parse


@pytest.mark.parametrize("text", ["last", "20260101-demo", "./odd:name", "/runs/a:b", "", "~/x:y"])
def test_local(text: str) -> None:
    assert parse(text) is None


@pytest.mark.parametrize(
    ("text", "host", "ssh_host", "run"),
    [
        ("box:last", "box", "box", "last"),
        ("me@gpu-1.lab:demo", "me@gpu-1.lab", "me@gpu-1.lab", "demo"),
        ("box:", "box", "box", ""),
        ("box:/runs/a:b", "box", "box", "/runs/a:b"),
        ("me@[fe80::1%eth0]:last", "me@[fe80::1%eth0]", "me@fe80::1%eth0", "last"),
        ("box:~/runs/x y", "box", "box", "~/runs/x y"),
    ],
)
def test_remote(text: str, host: str, ssh_host: str, run: str) -> None:
    name = parse(text)
    assert name == RemoteName(host, run)
    assert name.ssh_host == ssh_host


@pytest.mark.parametrize(
    "text",
    [
        "-oProxyCommand=id:x",
        "me@-oProxyCommand=id:x",
        "a b:x",
        ":x",
        "$(id):x",
        "a;id:x",
        "a\nb:x",
        "\x1b[2J:x",
        "box:a\nb",
    ],
)
def test_refused(text: str) -> None:
    with pytest.raises(BadInput):
        parse(text)


@given(st.text())
def test_any_name_is_local_remote_or_refused(text: str) -> None:
    name = None
    with contextlib.suppress(BadInput):
        name = parse(text)
    if name is not None:
        assert not name.ssh_host.startswith("-")
        assert not set(name.ssh_host) & set(" \t\n'\"`$;&|<>(){}*?\\")
        assert name.run.isprintable() or not name.run
