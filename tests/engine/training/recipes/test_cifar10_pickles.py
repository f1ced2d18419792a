"""CIFAR-10 from pickles of every protocol, as today's NumPy writes them; nothing in them can run code."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.training import tiny_cifar

from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration import settings
from gputrain.engine.training.readers import cifar10


def rewritten(home: Path, protocol: int, labels: str = "list", order: str = "C", texts: type = str) -> None:
    """The tiny data set, written again by pickle and NumPy of today."""
    tiny_cifar.write(home, per_batch=4)
    for file in (home / "cifar-10-batches-py").iterdir():
        content = pickle.loads(file.read_bytes(), encoding="latin1")
        if "data" in content:
            content["data"] = np.array(content["data"], order=order)  # type: ignore[call-overload]
            given = np.array(content["labels"])
            content["labels"] = {"list": given.tolist(), "array": given, "numbers": list(given)}[labels]
        elif texts is bytes:
            content["label_names"] = [name.encode() for name in content["label_names"]]
        if texts is bytes:  # as pickle.load(..., encoding="bytes") leaves them
            content = {name.encode(): value for name, value in content.items()}
        file.write_bytes(pickle.dumps(content, protocol=protocol))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("labels", ["list", "array", "numbers"])
@pytest.mark.parametrize(("order", "texts"), [("C", str), ("F", str), ("C", bytes)])
def test_every_protocol_gives_the_same_images(
    protocol: int, labels: str, order: str, texts: type, tmp_path: Path
) -> None:
    tiny_cifar.write(tmp_path / "original", per_batch=4)
    rewritten(tmp_path / "new", protocol, labels, order, texts)
    config = settings.build({"dataset": "cifar10"})
    before = cifar10.read(settings.replace(config, data_dir=str(tmp_path / "original")), lambda _: None)
    after = cifar10.read(settings.replace(config, data_dir=str(tmp_path / "new")), lambda _: None)
    for split in ("train", "val"):
        one, other = getattr(before, split), getattr(after, split)
        assert (one.pixels == other.pixels).all()
        assert (one.labels == other.labels).all()
        assert one.classes == other.classes


class Calls:
    """Unpickles as a call of `function`."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.function, self.arguments


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("function", [Path.touch, eval, print, np.load, np.frombuffer, getattr])
def test_any_other_function_is_refused(function: Any, protocol: int, tmp_path: Path) -> None:
    rewritten(tmp_path, 5)
    mark = tmp_path / "mark"
    harmful = {"data": Calls(function, mark if function is Path.touch else "1"), "labels": []}
    (tmp_path / "cifar-10-batches-py" / "test_batch").write_bytes(pickle.dumps(harmful, protocol))
    with pytest.raises(BadInput, match=r"test_batch: cannot be read \(it names .*which is no part of the data set"):
        cifar10.read(settings.build({"dataset": "cifar10", "data_dir": str(tmp_path)}), lambda _: None)
    assert not mark.exists()


@pytest.mark.parametrize("function", [np._core.numeric._frombuffer, np._core.multiarray.scalar])  # type: ignore[attr-defined]
@pytest.mark.parametrize("dtype", ["object", "a text"])
def test_arrays_of_objects_are_refused(function: Any, dtype: str, tmp_path: Path) -> None:
    """From bytes they would be made of arbitrary pointers."""
    rewritten(tmp_path, 5)
    given = np.dtype(object) if dtype == "object" else dtype
    arguments = (bytes(16), given, (2,), "C") if function.__name__ == "_frombuffer" else (given, bytes(8))
    content = {"data": Calls(function, *arguments), "labels": []}
    (tmp_path / "cifar-10-batches-py" / "test_batch").write_bytes(pickle.dumps(content, 5))
    with pytest.raises(BadInput, match="is not made of bytes"):
        cifar10.read(settings.build({"dataset": "cifar10", "data_dir": str(tmp_path)}), lambda _: None)
