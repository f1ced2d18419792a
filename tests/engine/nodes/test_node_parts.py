"""Parts of a run on several hosts that need no second host: messages, meeting addresses, checkpoints, division."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gputrain.engine.checkpointing.checkpoint_index import CheckpointEntry, read_index, write_index
from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration import settings
from gputrain.engine.configuration.sections.host_list import read_hosts
from gputrain.engine.nodes import meeting_address, node_start
from gputrain.engine.nodes.checkpoint_copies import CheckpointReceiver, CheckpointSender, read_parts
from gputrain.engine.nodes.lost_nodes import Node
from gputrain.engine.nodes.meeting_address import MeetingListeners
from gputrain.engine.nodes.node_messages import PART_BYTES, AnyMessage, Beat, Log, Messages, Part, encode


@given(st.lists(st.integers(1, 40), max_size=6))
def test_messages_come_whole_from_any_pieces(cuts: list[int]) -> None:
    sent: list[AnyMessage] = [Beat(), Log(text="a\nb"), Part(file="x", data=b"\x00" * 9, first=True, last=False)]
    stream = b"Welcome!\n\nbegin-here\n" + b"".join(map(encode, sent))
    messages, found, at = Messages("begin-here"), [], 0
    for cut in (*cuts, len(stream)):
        found += messages.take(stream[at : at + cut])
        at += cut
    assert found == sent


def test_bytes_that_are_no_message_are_refused() -> None:
    with pytest.raises(ValueError, match="invalid message"):
        Messages().take(b"\xff" * 8)


def test_a_probe_knows_the_right_machine() -> None:
    listeners = MeetingListeners(["127.0.0.1"], "right")
    ((address, port),) = listeners.offers
    assert meeting_address.probe(address, port, "right") == ""
    assert meeting_address.probe(address, port, "other") == "another machine answers there"
    store = listeners.take(address, port)
    assert store.getsockname() == (address, port), "the store gets the socket that was probed"
    store.close()
    assert meeting_address.probe(address, port, "right") == "Connection refused"


def test_an_address_of_another_machine_cannot_be_listened_at() -> None:
    with pytest.raises(OSError, match="Cannot assign requested address"):
        MeetingListeners(["192.0.2.1"], "token")


def test_no_loopback_is_offered() -> None:
    assert not any(meeting_address.is_loopback(address) for address in meeting_address.own_addresses())
    assert meeting_address.is_loopback("127.0.0.5")
    assert meeting_address.is_loopback("::1")
    assert not meeting_address.is_loopback("node-a")


def save(folder: Path, name: str, content: bytes, keep: int = 9) -> None:
    """A checkpoint as the trainer writes it: the file, then the index, then old ones are removed."""
    (folder / name).write_bytes(content)
    step = int(name.partition(".")[0])
    entry = CheckpointEntry(name, step, 0, hashlib.sha256(content).hexdigest(), len(content))
    entries = [*read_index(folder), entry]
    write_index(folder, entries[-keep:])
    for old in entries[:-keep]:
        (folder / old.file).unlink()


def copy(sender: CheckpointSender, receiver: CheckpointReceiver) -> None:
    while parts := sender.next_parts():
        for part in parts:
            receiver.take(part)


def test_checkpoints_arrive_with_their_index_and_old_ones_go(tmp_path: Path) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    there.mkdir()
    here.mkdir()
    (here / "mine.txt").write_text("not a checkpoint")
    sender, receiver = CheckpointSender(there), CheckpointReceiver(here)
    large = bytes(range(256)) * (PART_BYTES // 100)
    save(there, "1.pt", large, keep=2)
    save(there, "2.pt", b"two", keep=2)
    copy(sender, receiver)
    assert (here / "1.pt").read_bytes() == large
    assert read_index(here) == read_index(there)
    save(there, "3.pt", b"", keep=2)
    copy(sender, receiver)
    assert sorted(path.name for path in here.iterdir()) == ["2.pt", "3.pt", "index.json", "mine.txt"]
    assert read_index(here) == read_index(there)


def test_a_checkpoint_that_is_removed_on_its_way_is_left_out(tmp_path: Path) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    there.mkdir()
    here.mkdir()
    sender, receiver = CheckpointSender(there), CheckpointReceiver(here)
    save(there, "1.pt", b"x" * (3 * PART_BYTES), keep=1)
    for part in sender.next_parts():
        receiver.take(part)
    save(there, "2.pt", b"newer", keep=1)
    copy(sender, receiver)
    assert [entry.file for entry in read_index(here)] == ["2.pt"]
    assert (here / "2.pt").read_bytes() == b"newer"
    assert sorted(path.name for path in here.iterdir()) == ["2.pt", "index.json"]


def test_only_what_a_node_lacks_is_sent(tmp_path: Path) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    there.mkdir()
    here.mkdir()
    save(there, "1.pt", b"one")
    save(there, "2.pt", b"two")
    save(here, "1.pt", b"one")
    save(here, "2.pt", b"another run's")
    receiver = CheckpointReceiver(here)
    assert receiver.missing((there / "index.json").read_bytes()) == ("2.pt",)
    for part in read_parts(there, "2.pt"):
        receiver.take(part)
    assert (here / "2.pt").read_bytes() == b"two"


@pytest.mark.parametrize(("nodes", "expected"), [(1, (2, 4, 6)), (2, (4, 4, 3)), (3, (6, 4, 2)), (6, (12, 4, 1))])
def test_any_number_of_nodes_computes_the_same_images(nodes: int, expected: tuple[int, int, int]) -> None:
    values = {"hosts": "a,b,c,d,e,f", "devices": 2, "batch_size": 4, "accumulation_steps": 1}
    config = node_start.divided(settings.build(values), nodes)
    assert (config.devices, config.data.batch_size, config.optim.accumulation_steps) == expected
    assert config.distributed.hosts == "", "the ranks start no hosts of their own"


def test_a_number_of_nodes_that_cannot_is_refused() -> None:
    config = settings.build({"hosts": "a,b", "devices": 1, "batch_size": 1})
    assert node_start.divided(config, 1).optim.accumulation_steps == 2
    with pytest.raises(BadInput, match="global_batch_size: 2 images can't be divided among 3 devices"):
        node_start.divided(config, 3)


def test_a_node_that_is_lost_again_and_again_is_tried_less_often() -> None:
    node = Node(read_hosts("a")[0])
    pauses = []
    for losses in (0, 1, 2, 3, 100):
        node.losses = losses
        pauses.append(node.pause)
    assert pauses == [10.0, 10.0, 20.0, 40.0, 640.0]
