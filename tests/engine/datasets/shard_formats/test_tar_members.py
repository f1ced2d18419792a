"""Headers of tar archives: the files and offsets that Python's tarfile finds, and damage."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest
from helpers.training.shards import samples, tar
from hypothesis import given, settings
from hypothesis import strategies as st

from gputrain.engine.datasets.shard_formats.tar_members import TarDamage, TarFile, TarMember, member_name

NAMES = st.lists(st.text("abcäß./_-0", min_size=1, max_size=220).filter(lambda name: name.strip("/.")), max_size=8)


def scanned(path: Path) -> tuple[list[TarMember], list[TarDamage]]:
    handle = os.open(path, os.O_RDONLY)
    try:
        found = list(TarFile(handle).members())
        for one in found:
            if isinstance(one, TarMember):
                assert member_name(handle, one.offset, (one.offset - one.start) // 512) == one.name
    finally:
        os.close(handle)
    return [one for one in found if isinstance(one, TarMember)], [one for one in found if isinstance(one, TarDamage)]


def by_tarfile(path: Path) -> list[tuple[str, int, int]]:
    with tarfile.open(path) as archive:
        return [(one.name, one.offset_data, one.size) for one in archive if one.isreg()]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@given(names=NAMES, sizes=st.lists(st.integers(0, 3000), min_size=8, max_size=8))
@settings(max_examples=40, deadline=None)
def test_the_same_files_as_tarfile(
    tmp_path_factory: pytest.TempPathFactory, form: int, names: list[str], sizes: list[int]
) -> None:
    path = tmp_path_factory.mktemp("tar") / "x.tar"
    with tarfile.open(path, "w", format=form) as archive:
        for name, size in zip(names, sizes, strict=False):
            member = tarfile.TarInfo(name)
            member.size = size
            try:
                archive.addfile(member, io.BytesIO(b"x" * size))
            except ValueError:  # ustar cannot store all long names
                continue
    members, damage = scanned(path)
    assert [(one.name, one.offset, one.size) for one in members] == by_tarfile(path)
    assert not damage


@pytest.mark.parametrize("form", ["v7", "ustar", "gnu", "posix"])
def test_archives_of_gnu_tar(tmp_path: Path, form: str) -> None:
    home = tmp_path / "files"
    (home / "deep" / ("d" * 60)).mkdir(parents=True)
    for number in range(3):
        (home / f"{number}.jpg").write_bytes(b"x" * 700 * number)
        (home / "deep" / ("d" * 60) / f"{'n' * 25}{number}.cls").write_bytes(b"1")
    (home / "link").symlink_to("0.jpg")
    os.link(home / "1.jpg", home / "hard.jpg")
    path = tmp_path / "x.tar"
    subprocess.run(["tar", f"--format={form}", "-cf", path, "-C", home, "."], check=True)
    members, damage = scanned(path)
    # tarfile removes nothing from names; a hard link has no content and is left out by both.
    assert [(one.name, one.offset, one.size) for one in members] == by_tarfile(path)
    assert len(members) == 6
    assert not damage


def test_a_truncated_archive_has_its_whole_files(tmp_path: Path) -> None:
    path = tar(tmp_path / "x.tar", samples(5))
    whole = by_tarfile(path)
    for kept in range(0, whole[-1][1] + whole[-1][2], 97):
        cut = tmp_path / "cut.tar"
        cut.write_bytes(path.read_bytes()[:kept])
        members, damage = scanned(cut)
        assert [(one.name, one.offset, one.size) for one in members] == [
            one for one in whole if one[1] + one[2] <= kept
        ]
        assert len(damage) == 1


def test_files_behind_damage_are_found(tmp_path: Path) -> None:
    path = tar(tmp_path / "x.tar", samples(6))
    whole = by_tarfile(path)
    content = bytearray(path.read_bytes())
    header = whole[4][1] - 512
    content[header : header + 200] = os.urandom(200)
    path.write_bytes(content)
    members, damage = scanned(path)
    assert [one.name for one in members] == [name for name, _, _ in whole[:4] + whole[5:]]
    assert [(one.offset, one.why) for one in damage] == [(header, "no tar header")]


def test_sizes_above_8_gib_are_read(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        member = tarfile.TarInfo("large.bin")
        member.size = 9 << 30
        with path.open("wb") as file:
            file.write(member.tobuf(form))
            start = file.tell()
            file.truncate(start + member.size + 1024)  # sparse on the disk
        members, damage = scanned(path)
        assert [(one.name, one.offset, one.size) for one in members] == [("large.bin", start, 9 << 30)]
        assert not damage


def test_something_else_is_no_archive(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(os.urandom(5000))
    members, damage = scanned(tmp_path / "x.tar")
    assert not members
    assert [one.why for one in damage] == ["no tar header"]
    (tmp_path / "x.tar").write_bytes(b"")
    assert scanned(tmp_path / "x.tar")[1] == [TarDamage(0, "the file is empty")]
