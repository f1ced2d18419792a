"""Files that are no weights: the error says what the file is and the remedy, without torch's own advice."""

from __future__ import annotations

import os
import pickle
import re
import types
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from gputrain.engine.common.errors import BadInput
from gputrain.engine.training.models.pickle_outline import outline
from gputrain.engine.training.models.weights_file import read_weights
from gputrain.engine.training.networks.simple_cnn import SimpleCNN

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0123456789abcdef\nsize 46830571\n"
LEGACY = [pytest.param(False, id="zip"), pytest.param(True, id="legacy")]


def refusal(path: Path) -> str:
    with pytest.raises(BadInput) as caught:
        read_weights(path)
    text = str(caught.value)
    assert text.startswith(f"weights: {path} ")
    assert "\n" not in text
    assert "PyTorch 2.6" not in text
    assert "Weights only load failed" not in text
    return text.removeprefix(f"weights: {path} ")


def save(content: object, path: Path, *, legacy: bool = False) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is empty: download it again"),
        (LFS, "is a Git LFS pointer, not the file itself: run `git lfs pull` in its repository"),
        (b"\xef\xbb\xbf\n<!DOCTYPE html>\n<html><body>Sign in</body></html>", "is a web page (HTML or XML)"),
        (b"<HTML><head></head></HTML>", "download it again, from the link to the file itself"),
    ],
)
def test_what_is_not_a_checkpoint_is_named_whatever_its_suffix(
    tmp_path: Path, suffix: str, content: bytes, expected: str
) -> None:
    path = tmp_path / f"file{suffix}"
    path.write_bytes(content)
    assert expected in refusal(path)


@pytest.mark.parametrize("legacy", LEGACY)
@pytest.mark.parametrize("missing", [4, 2000])
def test_a_file_without_its_end_is_downloaded_again(tmp_path: Path, legacy: bool, missing: int) -> None:
    path = save(SimpleCNN(3, 8).state_dict(), tmp_path / "file.pt", legacy=legacy)
    path.write_bytes(path.read_bytes()[:-missing])
    assert refusal(path) == "is incomplete, the end of the file is missing: download it again"


@pytest.mark.parametrize("legacy", LEGACY)
def test_a_torch_file_named_safetensors_is_renamed(tmp_path: Path, legacy: bool) -> None:
    path = save(SimpleCNN(3, 8).state_dict(), tmp_path / "file.safetensors", legacy=legacy)
    assert refusal(path) == "is a torch file, not a safetensors file: rename it to file.pth"
    assert read_weights(path.rename(tmp_path / "file.pth")).tensors


@pytest.mark.parametrize("legacy", LEGACY)
@pytest.mark.parametrize("network", [SimpleCNN(3, 8), nn.Linear(2, 2)])
def test_a_whole_model_is_refused_and_its_remedy_works(tmp_path: Path, legacy: bool, network: nn.Module) -> None:
    path = save(network, tmp_path / "whole.pt", legacy=legacy)
    text = refusal(path)
    assert text.startswith("is a whole pickled model with objects of ")
    assert "['model']" not in text
    assert "where its class can be imported: torch.save(torch.load(FILE, weights_only=False).state_dict(), " in text
    torch.save(torch.load(path, weights_only=False).state_dict(), tmp_path / "weights.pth")
    assert read_weights(tmp_path / "weights.pth").tensors.keys() == network.state_dict().keys()


@pytest.mark.parametrize("legacy", LEGACY)
@pytest.mark.parametrize("key", ["model", "ema", "net-G"])
def test_a_dict_with_a_model_is_refused_and_its_remedy_works(tmp_path: Path, legacy: bool, key: str) -> None:
    path = save({key: nn.Linear(2, 2), "epoch": 3}, tmp_path / "file.pt", legacy=legacy)
    text = refusal(path)
    assert text.startswith(
        f"has a whole pickled model in its key '{key}', with objects of torch.nn.modules.linear.Linear"
    )
    (remedy,) = re.findall(r"torch.save\((.*), 'weights.pth'\)", text)
    assert remedy == f"torch.load(FILE, weights_only=False)['{key}'].state_dict()"
    state = eval(remedy, {"torch": torch, "FILE": path})
    assert state.keys() == {"weight", "bias"}


def test_of_two_models_the_average_is_named(tmp_path: Path) -> None:
    assert "['ema'].state_dict()" in refusal(
        save({"model": nn.Linear(2, 2), "ema": nn.Linear(2, 2)}, tmp_path / "a.pt")
    )


def test_a_remedy_keeps_the_tensors_of_a_flat_state_dict(tmp_path: Path) -> None:
    path = save({**SimpleCNN(3, 8).state_dict(), "meta": types.SimpleNamespace(a=1)}, tmp_path / "file.pt")
    (remedy,) = re.findall(r"torch.save\((.*), 'weights.pth'\)", refusal(path))
    torch.save(eval(remedy, {"torch": torch, "FILE": path}), tmp_path / "weights.pth")
    assert read_weights(tmp_path / "weights.pth").tensors.keys() == SimpleCNN(3, 8).state_dict().keys()


def test_an_outline_imports_and_calls_nothing(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, (str(tmp_path / "made"),)

    with (tmp_path / "evil.pt").open("wb") as file:
        for content in (0x1950A86A20F9469CFC6C, 1001, {}, {"model": Evil()}):
            pickle.dump(content, file, protocol=2)
    found = outline(tmp_path / "evil.pt")
    assert found["model"].path.endswith("mkdir")
    assert not (tmp_path / "made").exists()


def test_other_zip_archives_are_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "archive.pt", "w") as archive:
        archive.writestr("folder/weights.pth", b"0")
    assert refusal(tmp_path / "archive.pt").startswith("is a zip archive that torch.save did not write: unpack it")
    with zipfile.ZipFile(tmp_path / "script.pt", "w") as archive:
        archive.writestr("script/constants.pkl", b"0")
        archive.writestr("script/data.pkl", b"0")
    assert refusal(tmp_path / "script.pt").startswith("is a TorchScript archive, not a state dict")


@pytest.mark.parametrize("content", [b"these are no weights", b"\x89PNG\r\n", b"{}"])
def test_any_other_file_is_refused_without_torchs_text(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file.pt"
    path.write_bytes(content)
    assert refusal(path).startswith("is not a file of weights: give one written by torch.save(model.state_dict(), ")
