"""No person, photograph or face is on both sides of a split, for any val_share; groups by names or groups.csv."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes.machines import NO_GPU
from helpers.training import tiny_clips, tiny_faces
from helpers.training.training_tools import opened

from gputrain.engine.common.errors import BadInput
from gputrain.engine.configuration import settings
from gputrain.engine.datasets import group_split
from gputrain.engine.datasets.image_set import ImageSet
from gputrain.engine.events import Notice
from gputrain.profiles.resolve_plan import resolve_plan

SHARES = (0.01, 0.1, 0.3, 0.5, 0.77, 0.9)
TWICE = (("02", "21"), ("03", "15"), ("05", "18"), ("07", "22"))


def both(data_dir: Path, **values: Any) -> tuple[ImageSet, ImageSet, list[str]]:
    """Training and validation images, and the warnings."""
    base = {"data_dir": str(data_dir), "val_split": "", "device": "cpu", "clip_frames": 2}
    data, events = opened(settings.build(base | values))
    assert data.val is not None
    texts = [event.text for event in events if isinstance(event, Notice) and event.level == "warning"]
    return data.train, data.val, texts


def parts(images: ImageSet, depth: int) -> set[str]:
    """The first `depth` parts of the images' names."""
    return {"/".join(images.name(index).split("/")[:depth]) for index in range(len(images))}


@pytest.fixture(scope="module")
def kinect(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_faces.biwi(tmp_path_factory.mktemp("biwi"), sequences=24, frames=1)


def test_biwis_24_sequences_are_of_20_people() -> None:
    people = group_split.BIWI_PEOPLE
    assert sorted(people) == [f"{number:02d}" for number in range(1, 25)]
    assert len(set(people.values())) == 20
    assert sum(person.startswith("F") for person in set(people.values())) == 6
    found = {person: [s for s in people if people[s] == person] for person in people.values()}
    assert sorted(tuple(s) for s in found.values() if len(s) > 1) == sorted(TWICE)


@pytest.mark.parametrize("share", SHARES)
def test_biwis_people_are_on_one_side(kinect: Path, share: float) -> None:
    train, val, warnings = both(kinect, dataset="biwi", train_split=".", val_share=share)
    sides = parts(train, 1), parts(val, 1)
    assert len(sides[0] | sides[1]) == 24
    assert not sides[0] & sides[1]
    for first, second in TWICE:
        assert (first in sides[0]) == (second in sides[0])
    people = {group_split.biwi_person(sequence) for sequence in sides[1]}
    assert len(people) == max(1, round(20 * share))
    assert not warnings


def test_one_person_in_both_folders_of_biwi_is_reported(tmp_path: Path) -> None:
    home = tiny_faces.biwi(tmp_path / "all", sequences=3, frames=1)
    for split, sequences in (("train", ("01", "03")), ("val", ("02",))):
        (tmp_path / split).mkdir()
        for sequence in sequences:
            (home / sequence).rename(tmp_path / split / sequence)
    _, _, warnings = both(tmp_path, dataset="biwi", val_split="val")
    assert warnings == []
    (tmp_path / "val" / "02").rename(tmp_path / "val" / "15")
    _, _, warnings = both(tmp_path, dataset="biwi", val_split="val")
    assert warnings == [
        "1 of 1 subjects of the validation images are also trained on (F03): the metrics of validation are too good"
    ]


@pytest.mark.parametrize(
    ("folder", "stem", "photograph"),
    [
        ("AFW", "AFW_134212_1_0", "AFW/AFW_134212"),
        ("AFW_Flip", "AFW_134212_1_17", "AFW/AFW_134212"),
        ("AFW", "AFW_134212_2_3", "AFW/AFW_134212"),
        ("HELEN_Flip", "HELEN_1629243_1_16", "HELEN/HELEN_1629243"),
        ("IBUG", "IBUG_image_003_1_10", "IBUG/IBUG_image_003"),
        ("LFPW", "LFPW_image_test_0001_15", "LFPW/LFPW_image_test_0001"),
        ("LFPW_Flip", "LFPW_image_train_0001_2", "LFPW/LFPW_image_train_0001"),
        ("AFLW2000", "image00002", "AFLW2000/image00002"),
    ],
)
def test_pictures_of_one_photograph_have_one_name(folder: str, stem: str, photograph: str) -> None:
    assert group_split.photograph(folder, stem) == photograph


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six photographs with one or two faces, two views each, mirrored too."""
    home = tmp_path_factory.mktemp("lp")
    rng = np.random.default_rng(2)
    for set_ in ("AFW", "AFW_Flip"):
        (home / "train" / set_).mkdir(parents=True)
        for photo in range(6):
            for face in range(1, 2 + photo % 2):
                for view in (0, 10):
                    tiny_faces.draw_lp300w(home / "train" / set_ / f"AFW_{1000 + photo}_{face}_{view}.jpg", rng)
    return home


@pytest.mark.parametrize("share", SHARES)
def test_views_and_mirrored_pictures_of_a_photograph_are_on_one_side(photographs: Path, share: float) -> None:
    train, val, _ = both(photographs, dataset="300wlp", val_share=share)
    sides = [{name.split("_")[-3] for name in parts(images, 2)} for images in (train, val)]
    assert len(sides[0] | sides[1]) == 6
    assert not sides[0] & sides[1]


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Real clips 000 to 005, and fake ones of the same faces, as FaceForensics++ names them."""
    tiny_clips.draw(tmp_path, clips_each=6)
    for split in ("train", "val"):
        for number in range(6):
            first = 10 * (split == "val") + number
            (tmp_path / split / "real" / f"real{number}").rename(tmp_path / split / "real" / f"{first:03}")
            fake = tmp_path / split / "fake" / f"fake{number}"
            fake.rename(tmp_path / split / "fake" / f"{first:03}_{99 - number:03}")
    return tmp_path


def clip_names(images: ImageSet) -> set[str]:
    return {name.split("/")[1] for name in parts(images, 2)}


@pytest.mark.parametrize("share", SHARES)
def test_clips_of_one_face_are_on_one_side(clips: Path, share: float) -> None:
    train, val, warnings = both(clips, dataset="clips", val_share=share)
    sides = [{name[:3] for name in clip_names(images)} for images in (train, val)]
    assert len(sides[0] | sides[1]) == 6
    assert not sides[0] & sides[1]
    assert len(sides[1]) == min(5, max(1, round(6 * share)))
    assert {*train.labels.tolist()} == {*val.labels.tolist()} == {0, 1}
    assert not warnings


@pytest.mark.parametrize("share", SHARES)
def test_swapped_faces_are_on_one_side(tmp_path: Path, share: float) -> None:
    """000_003 shows one face in the clip of the other: both, and the real clips, stay together."""
    tiny_clips.draw(tmp_path, clips_each=6)
    pairs = {"000": "003", "001": "005", "002": "004"}
    partner = pairs | {two: one for one, two in pairs.items()}
    for number, (one, two) in enumerate(sorted(partner.items())):
        (tmp_path / "train" / "real" / f"real{number}").rename(tmp_path / "train" / "real" / one)
        (tmp_path / "train" / "fake" / f"fake{number}").rename(tmp_path / "train" / "fake" / f"{one}_{two}")
    train, val, _ = both(tmp_path, dataset="clips", val_share=share)
    sides = [{number for name in clip_names(images) for number in name.split("_")} for images in (train, val)]
    assert sides[0] | sides[1] == set(partner)
    assert not sides[0] & sides[1]
    assert {*train.labels.tolist()} == {*val.labels.tolist()} == {0, 1}


@pytest.mark.parametrize("share", SHARES)
def test_groups_csv_says_which_clips_belong_together(clips: Path, share: float) -> None:
    rows = [f"{name},{'ABC'[int(name[:3]) // 2]}" for name in ("000", "001", "002", "003", "004", "005")]
    rows += [f"fake/{n:03}_{99 - n:03},{'ABC'[n // 2]}" for n in range(6)]
    (clips / "groups.csv").write_text("name,group\n" + "\n".join(rows) + "\n")
    train, val, _ = both(clips, dataset="clips", val_share=share)
    sides = [{int(name[:3]) // 2 for name in clip_names(images)} for images in (train, val)]
    assert len(sides[0] | sides[1]) == 3
    assert not sides[0] & sides[1]


def test_a_face_in_both_folders_of_clips_is_reported(clips: Path) -> None:
    assert both(clips, dataset="clips", val_split="val")[2] == []
    (clips / "val" / "fake" / "010_099").rename(clips / "val" / "fake" / "003_099")
    (warning,) = both(clips, dataset="clips", val_split="val")[2]
    assert warning.startswith("1 of 7 subjects of the validation images are also trained on (003)")


def test_equal_numbers_in_both_folders_are_not_taken_for_one_face(tmp_path: Path) -> None:
    assert both(tiny_clips.draw(tmp_path), dataset="clips", val_split="val")[2] == []


FACES = [("000_003", "000"), ("000", "000"), ("id0_id1_5", "id0"), ("clip_7", "clip_7")]


@pytest.mark.parametrize(("name", "face"), FACES)
def test_the_face_of_a_clip_is_the_start_of_its_name(name: str, face: str) -> None:
    assert group_split.clip_face(name) == face


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b,c\n", r"groups\.csv:1: expected two columns"),
        ("name,group\na,\n", r"groups\.csv:2: expected two columns"),
        ("a,1\na,2\n", r"groups\.csv:2: 'a' is in two groups"),
    ],
)
def test_damaged_groups_are_named_with_their_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "groups.csv").write_text(text)
    with pytest.raises(BadInput, match=message):
        group_split.read_groups(str(tmp_path))


def test_groups_csv_joins_sequences_of_heads(kinect: Path, tmp_path: Path) -> None:
    (tmp_path / "train").symlink_to(kinect)
    (tmp_path / "groups.csv").write_text("".join(f"{n:02d},{'even' if n % 2 == 0 else 'odd'}\n" for n in range(1, 25)))
    train, val, _ = both(tmp_path, dataset="biwi", val_share=0.3)
    assert {int(name) % 2 for name in parts(train, 1)} != {int(name) % 2 for name in parts(val, 1)}
    assert len(parts(train, 1)) == len(parts(val, 1)) == 12


def test_names_in_groups_csv_that_fit_nothing_are_named(clips: Path, kinect: Path, tmp_path: Path) -> None:
    """A misspelt name would put one face on both sides."""
    rows = ["fake/000_099,A", "000,A", "fake/001_98,B", "real/001.mp4,B"]
    (clips / "groups.csv").write_text("\n".join(rows) + "\n")
    (warning,) = both(clips, dataset="clips", val_share=0.3)[2]
    assert warning.startswith("groups.csv: 2 of 4 names are in no folder of the data ('fake/001_98', 'real/001.mp4')")
    assert "write a clip with or without its class, for example 000" in warning
    home = tmp_path / "heads"
    home.mkdir()
    (home / "train").symlink_to(kinect)
    (home / "groups.csv").write_text("1,anna\n2,anna\n")
    with pytest.raises(BadInput, match=r"2 of 2 names are in no folder of the data \('1', '2'\); .* for example 01"):
        both(home, dataset="biwi", val_share=0.3)


@pytest.mark.parametrize("dataset", ["imagefolder", "cifar10", "demo", "custom"])
def test_a_share_of_data_without_subjects_is_refused(dataset: str, tmp_path: Path) -> None:
    """It would be ignored, and the run would not be validated."""
    values = {"dataset": dataset, "val_split": "", "val_share": 0.2}
    plan = resolve_plan(NO_GPU, recipe="simple-cnn", data_dir=str(tmp_path), overrides=values)
    assert [text for text in plan.refuses if text.startswith(f"val_share: {dataset} has no subjects to hold out")]


def test_second_faces_on_the_other_side_are_warned_of() -> None:
    """Celeb-DF swaps every two of a group: keeping all of them together would leave a few large groups."""
    train = [
        ("real/id0_0001", "id0"),
        ("fake/id0_id1_0001", "id0"),
        ("fake/id0_id2_0001", "id0"),
        ("real/id2_0", "id2"),
    ]
    val = [("real/id1_0001", "id1"), ("fake/id1_id0_0004", "id1"), ("fake/id1_id9_0004", "id1")]
    (warning,) = group_split.crossing_clips(train, val)
    assert warning.startswith(
        "2 clips of swapped faces show a second face that is on the other side of the split "
        "(fake/id0_id1_0001, fake/id1_id0_0004)"
    )
    assert group_split.crossing_clips(train, val[:0]) == ()
    # FaceForensics++: both clips of a swap are one group. A number behind a name is no face.
    assert group_split.crossing_clips([("real/000", "000"), ("fake/000_003", "000")], [("real/001", "001")]) == ()
    assert group_split.crossing_clips([("real/000", "a"), ("fake/000_003", "a"), ("fake/003_000", "a")], []) == ()
    assert group_split.crossing_clips([("real/clip_0001", "clip_0001")], [("real/0001", "0001")]) == ()
