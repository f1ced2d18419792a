"""A slow file system: serves a folder with delayed reads, as over a network.

It answers the kernel's FUSE protocol (linux/fuse.h) directly, without a library. The kernel puts a reading process to
sleep until the answer arrives. Pages are not cached, so that each epoch reads again. Mounting needs root.

    python tests/benchmarks/slow_files.py FOLDER MOUNT SECONDS         serves until its input ends
    python tests/benchmarks/slow_files.py FOLDER MOUNT SECONDS disk    the same as a hard disk with this seek time

As a hard disk it has one arm: a read that is not near the last one waits for a seek, and all share its rate. The kernel
reads ahead and keeps pages as for any disk.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

_OPEN = 14
_SILENT = {2, 36, 42}
"""Those that want no answer: forget, interrupt, many forgets."""
_HEADER, _ANSWER = struct.Struct("<IIQQIIII"), struct.Struct("<IiQ")
_ATTRIBUTES = struct.Struct("<6Q10I")
_MAJOR, _MINOR = 7, 31
_ASYNC_READ, _PARALLEL_DIRS = 1, 1 << 18
_DIRECT = 1
"""Flag of an open file: its pages are not kept."""
_KNOWN_FOR = 3600
"""Seconds for which the kernel may remember names and sizes: those are not what is slow."""
_RATE, _NEAR = 150e6, 1 << 21
"""A hard disk's bytes a second, and how far from the last read one needs no seek: its queue sorts them."""
_THREADS = 32
_BUFFER, _MOST = 1 << 18, 1 << 17
_READ_ONLY, _DETACH = 1 | 2 | 4 | 1024, 2
"""Mount flags (read-only, no set-uid, no devices, no times of access), and that of a lazy unmount."""


class CannotServe(Exception):  # noqa: N818 - the name states the condition
    """A file system cannot be mounted here."""


class Disk:
    """The waits of a hard disk."""

    def __init__(self, seek: float) -> None:
        self._seek, self._arm = seek, threading.Lock()
        self._path, self._at = "", 0

    def wait(self, path: str, offset: int, size: int) -> None:
        """Wait as long as a read takes."""
        with self._arm:
            near = path == self._path and abs(offset - self._at) <= _NEAR
            time.sleep((0.0 if near else self._seek) + size / _RATE)
            self._path, self._at = path, offset + size


class Tree:
    """The served folder by the kernel's numbers of its nodes; 1 is the folder itself."""

    def __init__(self, root: str, seconds: float, *, disk: bool = False) -> None:
        self._paths, self._numbers = {1: root}, {root: 1}
        self._disk = Disk(seconds) if disk else None
        self._adding = threading.Lock()
        self._seconds = seconds

    def answer(self, operation: int, node: int, body: bytes) -> bytes:
        """The answer to one request, by its protocol number. Raises OSError for an error reply."""
        path = self._paths.get(node, "")
        match operation:
            case 26:  # init
                flags = struct.unpack_from("<4I", body)[3] & (_ASYNC_READ | _PARALLEL_DIRS)
                return struct.pack("<4I2H2I2H2I24x", _MAJOR, _MINOR, 1 << 17, flags, 64, 48, _MOST, 1, 0, 0, 0, 0)
            case 1:  # lookup
                return self._entry(f"{path}/{os.fsdecode(body.rstrip(bytes(1)))}")
            case 3:  # getattr
                return struct.pack("<QII", _KNOWN_FOR, 0, 0) + self._attributes(path)
            case 14 | 27:  # open, opendir
                return struct.pack("<QIi", 0, _DIRECT if operation == _OPEN and self._disk is None else 0, 0)
            case 15:  # read
                return self._read(path, *struct.unpack_from("<QQI", body)[1:])
            case 28:  # readdir
                return self._names(path, *struct.unpack_from("<QQI", body)[1:])
            case 17:  # statfs
                return struct.pack("<5Q4I24x", 0, 0, 0, 0, 0, 4096, 255, 4096, 0)
            case 18 | 29 | 38:  # release, releasedir, destroy
                return b""
        raise OSError(errno.ENOSYS, "")

    def _number(self, path: str) -> int:
        with self._adding:
            number = self._numbers.setdefault(path, len(self._numbers) + 1)
            self._paths[number] = path
        return number

    def _entry(self, path: str) -> bytes:
        attributes = self._attributes(path)
        return struct.pack("<4Q2I", self._number(path), 0, _KNOWN_FOR, _KNOWN_FOR, 0, 0) + attributes

    def _attributes(self, path: str) -> bytes:
        found = Path(path).stat()
        kind = stat.S_IFDIR | 0o555 if stat.S_ISDIR(found.st_mode) else stat.S_IFREG | 0o444
        when = int(found.st_mtime)
        numbers = (self._number(path), found.st_size, found.st_blocks, when, when, when)
        return _ATTRIBUTES.pack(*numbers, 0, 0, 0, kind, 1, 0, 0, 0, 4096, 0)

    def _read(self, path: str, offset: int, size: int) -> bytes:
        if self._disk is None:
            time.sleep(self._seconds)
        else:
            self._disk.wait(path, offset, size)
        with open(path, "rb") as file:  # noqa: PTH123 - a path of ours, and cheap
            file.seek(offset)
            return file.read(min(size, _MOST))

    def _names(self, path: str, offset: int, size: int) -> bytes:
        entries = sorted(os.scandir(path), key=lambda entry: entry.name)
        told = b""
        for place, entry in enumerate(entries[offset:], offset + 1):
            name = os.fsencode(entry.name)
            kind = stat.S_IFDIR if entry.is_dir() else stat.S_IFREG
            one = struct.pack("<QQII", self._number(entry.path), place, len(name), kind >> 12) + name
            one += bytes(-len(one) % 8)
            if len(told) + len(one) > size:
                break
            told += one
        return told


def _serve(handle: int, tree: Tree) -> None:
    """Answer requests until the file system is unmounted."""
    while True:
        try:
            request = os.read(handle, _BUFFER)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.EINTR, errno.EAGAIN):
                continue
            return
        _, operation, unique, node, *_ = _HEADER.unpack_from(request)
        if operation in _SILENT:
            continue
        code, body = 0, b""
        try:
            body = tree.answer(operation, node, request[_HEADER.size :])
        except OSError as error:
            code = error.errno or errno.EIO
        except (LookupError, ValueError, struct.error):
            # Whoever asks waits until there is an answer.
            code = errno.EIO
        with contextlib.suppress(OSError):  # who asked may have left
            os.writev(handle, [_ANSWER.pack(_ANSWER.size + len(body), -code, unique), body])


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _unmount(mount: str) -> None:
    _libc().umount2(os.fsencode(mount), _DETACH)


def main() -> None:
    """Mount, print that it is ready, and serve until the input ends."""
    folder, mount, seconds = str(Path(sys.argv[1]).resolve()), sys.argv[2], float(sys.argv[3])
    try:
        handle = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        print(f"/dev/fuse: {error.strerror}", flush=True)
        return
    how = f"fd={handle},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
    if _libc().mount(b"slow", os.fsencode(mount), b"fuse", _READ_ONLY, how):
        print(f"mounting a slow file system: {os.strerror(ctypes.get_errno())}", flush=True)
        return
    try:
        tree = Tree(folder, seconds, disk=sys.argv[4:] == ["disk"])
        for _ in range(_THREADS):
            threading.Thread(target=_serve, args=(handle, tree), daemon=True).start()
        print("ready", flush=True)
        sys.stdin.read()
    finally:
        _unmount(mount)


@contextlib.contextmanager
def slow(folder: str, mount: Path, seconds: float, *, disk: bool = False) -> Iterator[str]:
    """`folder` below `mount`, an empty folder, with each read of a file `seconds` late; or as on a hard `disk`.

    Raises CannotServe.
    """
    command = [sys.executable, "-S", __file__, folder, str(mount), str(seconds), *(["disk"] if disk else [])]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        said = server.stdout.readline().strip()
        if said != "ready":
            raise CannotServe(said or "the slow file system's program has ended")
        yield str(mount)
    finally:
        server.stdin.close()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
            _unmount(str(mount))
        server.stdout.close()


if __name__ == "__main__":
    main()
