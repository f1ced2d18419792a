"""Records and streams written by an enemy: no traceback, no hang, nothing that a terminal acts on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
from hostile import acts_on_a_terminal, texts
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from gputrain.engine import events
from gputrain.engine.events import AnyEvent
from gputrain.engine.remote.remote_status import read_status
from gputrain.engine.remote.ssh_link import Frames
from gputrain.engine.runs import event_log
from gputrain.tui.cli.plain_output import JsonLines, PlainLines
from gputrain.tui.state.run_store import RunStore
from gputrain.tui.state.run_summary import summary

numbers = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([0, 1, 10**12, -1])
reals = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([0.0, 1e308, -1e308, 1e-308])
values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | numbers | reals | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
KINDS: dict[str, type[events.Event]] = {str(kind.__struct_config__.tag): kind for kind in AnyEvent.__args__}


def of_type(annotation: Any) -> st.SearchStrategy[Any]:
    """Values that a field takes, the wildest that its type allows."""
    kind = msgspec.inspect.type_info(annotation)
    return _strategy(kind)


def _strategy(kind: msgspec.inspect.Type) -> st.SearchStrategy[Any]:
    match kind:
        case msgspec.inspect.NoneType():
            return st.none()
        case msgspec.inspect.BoolType():
            return st.booleans()
        case msgspec.inspect.IntType():
            return numbers
        case msgspec.inspect.FloatType():
            return reals
        case msgspec.inspect.StrType():
            return texts
        case msgspec.inspect.LiteralType():
            return st.sampled_from(kind.values)
        case msgspec.inspect.EnumType():
            return st.sampled_from([member.value for member in kind.cls])
        case msgspec.inspect.UnionType():
            return st.one_of([_strategy(one) for one in kind.types])
        case msgspec.inspect.DictType():
            return st.dictionaries(texts, _strategy(kind.value_type), max_size=3)
        case msgspec.inspect.VarTupleType() | msgspec.inspect.ListType():
            return st.lists(_strategy(kind.item_type), max_size=3)
        case msgspec.inspect.StructType():
            return _struct(kind.cls)
        case _:
            return values


def _struct(cls: type[Any]) -> st.SearchStrategy[dict[str, Any]]:
    needed: dict[str, st.SearchStrategy[Any]] = {}
    optional: dict[str, st.SearchStrategy[Any]] = {}
    for field in msgspec.structs.fields(cls):
        target = needed if field.required else optional
        target[field.encode_name] = st.deferred(lambda annotation=field.type: of_type(annotation))  # type: ignore[misc]
    return st.fixed_dictionaries(needed, optional=optional)


@st.composite
def lines(draw: st.DrawFn) -> bytes:
    """One line of a record: mostly a valid event with wild values, sometimes nonsense."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=80)).replace(b"\n", b"")
    tag = draw(st.sampled_from(sorted(KINDS)))
    content = {"type": tag, **draw(_struct(KINDS[tag]))}
    return json.dumps(content, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")


fuzz = settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    # Shrinking a record of wild events takes minutes, and the first failure says enough.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)


@fuzz
@given(st.lists(lines(), max_size=12))
def test_any_record_can_be_shown(written: list[bytes]) -> None:
    """As lines, as JSON, as a snapshot and as a summary."""
    shown, as_json, store = PlainLines(), JsonLines(), RunStore()
    for event in [event for line in written if (event := events.decode(line)) is not None]:
        for line in shown.take(event):
            assert not acts_on_a_terminal(line), line
            assert "\n" not in line
        for line in as_json.take(event):
            json.loads(line)
        store.apply(event)
    for line in (*shown.summary_lines("dir"), *as_json.summary_lines("dir")):
        assert not acts_on_a_terminal(line), line
    summary(store.snapshot())


@fuzz
@given(lines())
def test_texts_come_out_of_the_record_harmless(written: bytes) -> None:
    event = events.decode(written)
    if event is not None:
        for text in _texts(msgspec.to_builtins(event)):
            assert not acts_on_a_terminal(text), text


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for pair in value.items() for part in pair for text in _texts(part)]
    if isinstance(value, list | tuple):
        return [text for part in value for text in _texts(part)]
    return []


@fuzz
@given(st.lists(lines() | st.binary(max_size=200), max_size=8), st.lists(st.integers(1, 300), min_size=1, max_size=5))
def test_a_record_in_any_pieces_gives_the_same_events(
    tmp_path_factory: Any, written: list[bytes], cuts: list[int]
) -> None:
    whole = b"\n".join(written) + b"\n"
    path = Path(tmp_path_factory.getbasetemp()) / "fuzzed.jsonl"
    path.write_bytes(whole)
    cutter, found = event_log.LineSplitter(), []
    at = number = 0
    while at < len(whole):
        size = cuts[number % len(cuts)]
        found += [event for _, event in cutter.split(whole[at : at + size])]
        at, number = at + size, number + 1
    assert found == list(event_log.read(path))


@fuzz
@given(
    st.lists(
        st.binary(max_size=50)
        | st.builds(
            lambda letter, length, rest: b"%c %d\n%s" % (letter, length, rest),
            st.integers(65, 90),
            numbers,
            st.binary(max_size=30),
        )
        | st.just(b"\ntoken\n")
        | st.just(b"D 3\nabcE\n")
        | st.sampled_from([b"T 99999999999999999999\n", b"D -1\n", b"S 5\n", b"X 3\nno!"]),
        max_size=12,
    ),
    st.integers(1, 20),
)
def test_any_stream_from_afar_is_frames_or_refused(parts: list[bytes], size: int) -> None:
    stream, frames = b"".join(parts), Frames("token")
    for at in range(0, len(stream), size):
        try:
            found = frames.take(stream[at : at + size])
        except ValueError:
            return
        for letter, payload in found:
            assert letter in "HIRMSPOBDTX"
            assert len(payload) <= len(stream)


@fuzz
@given(st.binary(max_size=200) | lines(), st.binary(max_size=200))
def test_any_status_from_afar_is_one_or_none(status: bytes, place: bytes) -> None:
    read_status(status, place)
