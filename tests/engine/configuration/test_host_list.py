"""The setting `hosts`: which texts and lists are hosts for ssh."""

from __future__ import annotations

from typing import Any

import pytest

from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration import global_batch, settings
from gputrain.engine.configuration.sections.host_list import Host, read_hosts


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a,b", "a,b"),
        ("[a, b]", "a,b"),
        (["a", "me@b:2222"], "a,me@b:2222"),
        ("", ""),
        ("[fe80::1]:22", "[fe80::1]:22"),
        ("[fe80::1]", "[fe80::1]"),
    ],
)
def test_what_hosts_may_be(value: Any, text: str) -> None:
    assert settings.check(settings.find("hosts"), value) == text


@pytest.mark.parametrize("value", ["a,a", "-oProxyCommand=x", "a;b", "a,", "b:99999", "b:0", 3, "a b", "$(a)"])
def test_what_hosts_may_not_be(value: Any) -> None:
    with pytest.raises(BadInput, match=r"hosts must be hosts for ssh, each \[user@\]host\[:port\]"):
        settings.check(settings.find("hosts"), value)


def test_a_port_and_brackets_are_no_part_of_the_name_for_ssh() -> None:
    assert read_hosts("me@b:2222,[fe80::1]") == (
        Host("me@b:2222", "me@b", 2222),
        Host("[fe80::1]", "fe80::1", None),
    )


def test_the_images_per_update_count_all_hosts() -> None:
    values = {"batch_size": 4, "devices": 2, "accumulation_steps": 3, "hosts": "a,b"}
    assert global_batch.rank_count(values) == 4
    assert global_batch.product(values) == 48
    assert global_batch.rank_count({**values, "hosts": ""}) == 2
