"""Splits by group: pictures of one person, photograph or face are never both trained and validated on."""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence

from gputrain.engine.common import files
from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain

GROUPS_FILE = "groups.csv"
"""In data_dir: rows ``name,group`` for sequences, photographs or clips; it overrides what the names say."""

BIWI_PEOPLE: Mapping[str, str] = {
    "01": "F01", "02": "F02", "03": "F03", "04": "F04", "05": "F05", "06": "F06", "07": "M01", "08": "M02",
    "09": "M03", "10": "M04", "11": "M05", "12": "M06", "13": "M07", "14": "M08", "15": "F03", "16": "M09",
    "17": "M10", "18": "F05", "19": "M11", "20": "M12", "21": "F02", "22": "M01", "23": "M13", "24": "M14",
}  # fmt: skip
"""Person of each of BIWI's 24 sequences: 20 people, four of them recorded twice. From the loader of Hugging Face's
`datasets` (datasets/biwi_kinect_head_pose/biwi_kinect_head_pose.py, _sequence_to_subject_map)."""
_VIEWS = re.compile(r"(.*_\d+)_\d+")


def biwi_person(sequence: str) -> str:
    """The person in a sequence of BIWI; the sequence's own name for one that is not BIWI's."""
    return BIWI_PEOPLE.get(sequence.zfill(2), sequence)


def photograph(folder: str, stem: str) -> str:
    """The photograph from which a picture of 300W-LP was made.

    Names end in the number of the view, and in most sets before it that of the face: ``AFW/AFW_134212_1_0``,
    ``LFPW/LFPW_image_test_0001_15``. Mirrored pictures have the same names in folders that end in ``_Flip``.
    """
    for _ in range(2):
        if match := _VIEWS.fullmatch(stem):
            stem = match[1]
    return f"{folder.removesuffix('_Flip')}/{stem}"


def clip_face(name: str) -> str:
    """The face in a clip: its name up to the first ``_`` if that part has a digit, else the whole name.

    ``000_003`` shows the face of ``000`` (FaceForensics++), ``id0_id1_0005`` that of ``id0_0001`` (Celeb-DF);
    ``clip_0001`` and ``clip_0002`` have nothing in common.
    """
    start = name.partition("_")[0]
    return start if any(character.isdigit() for character in start) else name


def swapped_faces(names: Collection[str]) -> dict[str, str]:
    """Faces that were swapped with each other, as face → one of them, of the names of all clips.

    FaceForensics++ has ``000_003`` and ``003_000``: each shows the face of one clip in the other one.
    """
    first: dict[str, str] = {}
    for name in sorted(names):
        one, _, two = name.partition("_")
        if one.isdecimal() and two.isdecimal() and one < two and f"{two}_{one}" in names:
            first[two] = first.get(one, one)
    return first


def second_face(name: str) -> str:
    """The other part of the name of a swapped clip: ``id1`` of ``id0_id1_0005`` (Celeb-DF); empty without one.

    It is a face only if a clip of its own has it: ``0001`` of ``id0_0001`` is the number of a clip.
    """
    first, _, rest = name.partition("_")
    second = rest.partition("_")[0]
    return second if clip_face(name) == first and second != first else ""


def crossing_clips(train: Collection[tuple[str, str]], val: Collection[tuple[str, str]]) -> tuple[str, ...]:
    """A warning of clips, given as (path, group), whose second face has its own clips on the other side."""
    own = {clip_face(path.rpartition("/")[2]): group for path, group in (*train, *val)}
    crossing: list[str] = []
    for here, there in ((train, val), (val, train)):
        others = {group for _, group in there}
        for path, group in here:
            second = own.get(second_face(path.rpartition("/")[2]), group)
            if second != group and second in others:
                crossing.append(path)
    if not crossing:
        return ()
    names = plain(", ".join(sorted(crossing)[:3]), 200) + (" …" if len(crossing) > 3 else "")
    text = f"{len(crossing)} clips of swapped faces show a second face that is on the other side of the split ({names})"
    remedy = f"leave these clips out, or join the faces in {GROUPS_FILE}"
    return (f"{text}: the metrics of validation may be too good; {remedy}",)


def read_groups(data_dir: str) -> dict[str, str]:
    """Groups by name from groups.csv in `data_dir`; empty without that file. Raises BadInput with file and line."""
    path = files.expand_user(data_dir) / GROUPS_FILE
    found: dict[str, str] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for number, row in enumerate(csv.reader(file), 1):
                if not row or (number == 1 and [cell.strip().lower() for cell in row] == ["name", "group"]):
                    continue
                if len(row) != 2 or not all(cell.strip() for cell in row):
                    raise BadInput(f"{plain(str(path), 300)}:{number}: expected two columns, name and group")
                name, group = (cell.strip() for cell in row)
                if found.setdefault(name, group) != group:
                    raise BadInput(f"{plain(str(path), 300)}:{number}: '{plain(name, 100)}' is in two groups")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"{plain(str(path), 300)}: cannot be read ({plain(str(error), 200)})") from None
    return found


def unused_names(groups: Mapping[str, str], names: Iterable[str], what: str) -> tuple[str, ...]:
    """A warning if some names of groups.csv are none of `names`. Raises BadInput if none of them is.

    `what`: an example of a name.
    """
    known = set(names)
    unused = [name for name in groups if name not in known]
    if not unused:
        return ()
    shown = plain(", ".join(f"'{name}'" for name in unused[:3]), 200) + (" …" if len(unused) > 3 else "")
    example = plain(next(iter(sorted(known)), ""), 100)
    text = (
        f"{GROUPS_FILE}: {len(unused)} of {len(groups)} names are in no folder of the data ({shown}); write {what}"
        + (f", for example {example}" if example else "")
    )
    if len(unused) == len(groups):
        raise BadInput(text)
    return (text,)


def held_out(groups: Iterable[str], share: float) -> set[str]:
    """A share of the groups for validation, at least one: those with the smallest hash, so always the same ones.

    Raises BadInput if there are fewer than two.
    """
    known = sorted(set(groups))
    if len(known) < 2:
        raise BadInput(
            f"val_share: there is only one subject ({plain(''.join(known), 100)}); set val_share=0, or name the "
            f"subjects in {GROUPS_FILE}"
        )
    count = min(len(known) - 1, max(1, round(share * len(known))))
    return set(sorted(known, key=lambda name: hashlib.sha256(name.encode()).digest())[:count])


def shared_groups(train: Iterable[str], val: Iterable[str]) -> tuple[str, ...]:
    """A warning if training and validation have groups in common."""
    known = set(val)
    both = sorted(set(train) & known)
    if not both:
        return ()
    names = plain(", ".join(both[:3]), 200) + (" …" if len(both) > 3 else "")
    text = f"{len(both)} of {len(known)} subjects of the validation images are also trained on ({names})"
    return (f"{text}: the metrics of validation are too good",)


def clips_held_out(clips: Sequence[tuple[int, str]], share: float) -> set[str]:
    """Faces held out for validation, a share of each class, of clips given as (class, face). Raises BadInput.

    Both classes remain on both sides.
    """
    chosen: set[str] = set()
    for label in sorted({label for label, _ in clips}):
        chosen |= held_out((face for known, face in clips if known == label), share)
    for label in {label for label, _ in clips}:
        if not {face for known, face in clips if known == label} - chosen:
            raise BadInput("val_share: no clips of one class would be left to train on; set a smaller val_share")
    return chosen
