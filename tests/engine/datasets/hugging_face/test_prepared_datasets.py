"""Splits and names of prepared data: found in the folders and the cache of the real `datasets`, or prepared by it."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
from pathlib import Path

import pytest
from helpers.training import hugging_face_data as hub
from helpers.training.shards import touch_later
from helpers.training.training_tools import draw_images

from gputrain.engine.common import hugging_face_names
from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration import settings
from gputrain.engine.datasets.hugging_face import arrow_splits, prepared_datasets
from gputrain.engine.datasets.hugging_face.arrow_splits import arrow_files
from gputrain.engine.datasets.hugging_face.prepared_datasets import NotPrepared


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_images(tmp_path_factory.mktemp("drawn") / "pictures", per_class=3)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path / "cache"


def names(paths: tuple[str, ...]) -> list[str]:
    return [Path(path).name for path in paths]


def test_splits_of_saved_data(pictures: Path, tmp_path: Path) -> None:
    saved = str(hub.saved(pictures, tmp_path / "saved"))
    assert names(arrow_files(saved, "train", "train_split")) == [f"data-0000{part}-of-00003.arrow" for part in range(3)]
    for name in ("val", "validation"):
        found = arrow_files(saved, name, "val_split")
        assert [Path(path).parent.name for path in found] == ["validation"]
    with pytest.raises(
        BadInput, match=r"val_split: there is no split 'dev' in .*; it has train, validation: val_split="
    ):
        arrow_files(saved, "dev", "val_split")
    with pytest.raises(BadInput, match="train_split: there is no split 'val'"):
        arrow_files(saved, "val", "train_split")
    # One Dataset instead of a dictionary, and folders of several of them.
    assert len(arrow_files(f"{saved}/validation", "train", "train_split")) == 1
    (tmp_path / "saved" / "dataset_dict.json").unlink()
    assert len(arrow_files(saved, "train", "train_split")) == 3
    next((tmp_path / "saved" / "train").glob("data-00001*")).unlink()
    with pytest.raises(BadInput, match=r"train/data-00001-of-00003.arrow is missing; save the data set anew"):
        arrow_files(saved, "train", "train_split")


def test_a_split_without_rows(pictures: Path, tmp_path: Path) -> None:
    """Which others of its folder do not mind."""
    whole = hub.dataset_of(pictures, "train")
    hub.package().DatasetDict({"train": whole, "val": whole.select([])}).save_to_disk(str(tmp_path / "saved"))
    assert arrow_files(str(tmp_path / "saved"), "train", "train_split")
    with pytest.raises(BadInput, match=r"val_split: the split 'val' in .* has no rows"):
        arrow_files(str(tmp_path / "saved"), "val", "val_split")


def test_damaged_and_other_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"has no data of Hugging Face's datasets \(dataset_dict.json, state.json"):
        arrow_files(str(tmp_path), "train", "train_split")
    with pytest.raises(BadInput, match="does not exist; name a folder of save_to_disk, or hf:OWNER/NAME"):
        arrow_files(str(tmp_path / "none"), "train", "train_split")
    state = tmp_path / "state.json"
    state.write_text('{"_data_files": [')
    with pytest.raises(BadInput, match=r"state.json: cannot be read: .*; save the data set anew"):
        arrow_files(str(tmp_path), "train", "train_split")
    state.write_text(json.dumps({"_data_files": [{"filename": "a"}], "_indices_data_files": [{"filename": "b"}]}))
    with pytest.raises(BadInput, match="selects rows by another file"):
        arrow_files(str(tmp_path), "train", "train_split")
    with pytest.raises(BadInput, match="dataset=parquet reads Parquet at a URL"):
        arrow_files("s3://bucket/x", "train", "train_split")


def test_names_are_found_in_the_cache(pictures: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the name of the configuration, the newest one, and as `datasets` names its folders."""
    hub.cached(pictures, cache)
    (config,) = [path.name for path in (cache / "flowers").iterdir() if path.is_dir()]
    found = arrow_files("hf:flowers", "train", "train_split")
    assert found == arrow_files(f"hf:flowers:{config}", "train", "train_split")
    assert found == arrow_files("hf:flowers:default", "train", "train_split")
    assert found == arrow_files(str(Path(found[0]).parent), "train", "train_split"), "the folder itself"
    assert names(arrow_files("hf:flowers", "val", "val_split")) == ["flowers-validation.arrow"]
    older = Path(found[0]).parent
    newer = Path(shutil.copytree(older, older.with_name("b" * 40)))
    touch_later(newer)
    assert Path(arrow_files("hf:flowers", "train", "train_split")[0]).parent == newer
    shutil.copytree(older, older.with_name("c" * 40 + ".incomplete"))
    assert Path(arrow_files("hf:flowers", "train", "train_split")[0]).parent == newer
    package = hub.package()
    # Read when they were imported, which may have been in another test.
    monkeypatch.setattr(package.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    again = package.load_dataset("flowers", cache_dir=str(cache))["train"]
    assert Path(again.cache_files[0]["filename"]).parent == newer, "as datasets chooses without a network"
    (cache.parent / "flowers").rename(cache.parent / "gone")
    other = shutil.copytree(older, cache / "flowers" / "default-0123456789abcdef" / "0.0.0" / ("d" * 40))
    touch_later(Path(other), 10)
    assert Path(arrow_files("hf:flowers", "train", "train_split")[0]).parent == newer, "not the one of other files"
    assert arrow_files("hf:flowers:default-0123456789abcdef", "train", "train_split")[0].startswith(str(other))
    shutil.rmtree(cache / "flowers" / "default-0123456789abcdef")
    shutil.copytree(cache / "flowers", cache / "Owner___flowers_two")
    assert arrow_files("hf:Owner/FlowersTwo", "train", "train_split")
    for name in ("small", "large"):
        shutil.copytree(cache / "flowers" / config, cache / "flowers" / name)
        for info in (cache / "flowers" / name).rglob("dataset_info.json"):
            info.write_text(info.read_text().replace(f'"config_name": "{config}"', f'"config_name": "{name}"'))
    shutil.rmtree(cache / "flowers" / config)
    with pytest.raises(BadInput, match=r"in 2 configurations \(large, small\); choose one: data_dir=hf:flowers:large"):
        arrow_files("hf:flowers", "train", "train_split")
    assert "/small/" in arrow_files("hf:flowers:small", "train", "train_split")[0]


def test_a_cache_without_all_files_is_named(tmp_path: Path) -> None:
    (tmp_path / "dataset_info.json").write_text(json.dumps({"splits": {"train": {}, "test": {}}}))
    for name in ("x-train-00000-of-00002.arrow", "x-test.arrow", "cache-train.arrow"):
        (tmp_path / name).touch()
    with pytest.raises(BadInput, match="has not all Arrow files of the split 'train'; remove the folder"):
        arrow_files(str(tmp_path), "train", "train_split")
    (tmp_path / "x-train-00001-of-00002.arrow").touch()
    assert len(arrow_files(str(tmp_path), "train", "train_split")) == 2
    assert names(arrow_files(str(tmp_path), "val", "val_split")) == ["x-test.arrow"], "the only other one"


@pytest.mark.parametrize("name", ["mnist", "MNIST", "ylecun/MNIST", "zh-plus/tiny-imagenet", "a/HTMLPages2Go", "Aa_bB"])
def test_folders_are_named_as_datasets_names_them(name: str) -> None:
    hub.package()
    from datasets.naming import camelcase_to_snakecase

    owner, slash, own = name.rpartition("/")
    expected = f"{owner}___{camelcase_to_snakecase(own)}" if slash else camelcase_to_snakecase(own)
    assert prepared_datasets._folder_name(name) == expected


def test_the_cache_is_where_datasets_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_DATASETS_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert hugging_face_names.cache_folder() == tmp_path / ".cache" / "huggingface" / "datasets"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert hugging_face_names.cache_folder() == tmp_path / "x" / "huggingface" / "datasets"
    monkeypatch.setenv("HF_HOME", str(tmp_path / "h"))
    assert hugging_face_names.cache_folder() == tmp_path / "h" / "datasets"
    monkeypatch.setenv("HF_DATASETS_CACHE", "~/d")
    assert hugging_face_names.cache_folder() == tmp_path / "d"


@pytest.mark.slow
def test_a_name_is_prepared_by_datasets(
    pictures: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the real package in its own process, of a data set that it finds without a network; once."""
    hub.cached(pictures, tmp_path / "other-cache")
    monkeypatch.chdir(tmp_path)
    assert (tmp_path / "flowers").is_dir()
    with pytest.raises(NotPrepared):
        arrow_files("hf:flowers", "train", "train_split")
    calls: list[int] = []
    found = arrow_files("hf:flowers", "train", "train_split", calls.append)
    assert calls
    assert Path(found[0]).is_relative_to(cache)
    assert arrow_files("hf:flowers", "train", "train_split") == found
    message = "data_dir: hf:nobody/nothing is not in .*, and datasets cannot prepare it: .*nobody/nothing.*; check the"
    with pytest.raises(BadInput, match=message):
        arrow_files("hf:nobody/nothing", "train", "train_split", calls.append)

    def stop(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        arrow_files("hf:nobody/nothing", "train", "train_split", stop)


def test_without_the_package_the_remedy_is_named(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(BadInput, match=r"package datasets, .*, is not installed: pip install 'gputrain-tui\[hf\]'"):
        arrow_files("hf:ylecun/mnist", "train", "train_split", lambda _: None)


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("dataset=hf:ylecun/mnist", {"dataset": "hf", "data_dir": "hf:ylecun/mnist"}),
        ("dataset=hf:mnist:big@train", {"dataset": "hf", "data_dir": "hf:mnist:big", "train_split": "train"}),
        (
            "dataset=hf:/data/x@train,test",
            {"dataset": "hf", "data_dir": "/data/x", "train_split": "train", "val_split": "test"},
        ),
        ("dataset=hf:a/b@train,", {"dataset": "hf", "data_dir": "hf:a/b", "train_split": "train", "val_split": ""}),
        ("dataset=hf", {"dataset": "hf"}),
        ("data_dir=hf://datasets/a/b", {"data_dir": "hf://datasets/a/b"}),
    ],
)
def test_the_short_form_sets_several_settings(argument: str, expected: dict[str, str]) -> None:
    assert settings.parse_overrides([argument])[0] == expected


@pytest.mark.parametrize(
    "argument", ["dataset=hf:", "dataset=hf:a/b/c", "dataset=hf:a@", "dataset=hf:a@b,c,d", "data_dir=hf:a b"]
)
def test_bad_names_are_refused(argument: str) -> None:
    with pytest.raises(BadInput, match="hf:"):
        settings.parse_overrides([argument])


def test_has_arrow_data(pictures: Path, tmp_path: Path) -> None:
    assert not arrow_splits.has_arrow_data(pictures)
    assert arrow_splits.has_arrow_data(hub.saved(pictures, tmp_path / "saved"))
    assert arrow_splits.has_arrow_data(tmp_path / "saved" / "train")
