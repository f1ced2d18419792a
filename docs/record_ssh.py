"""Record a session: a run on another machine is watched and stopped over ssh while the connection is cut twice.

    python docs/record_ssh.py docs/ssh-session.txt        needs OpenSSH's client and server; under a minute

The other machine is a real sshd on loopback with keys and a folder of runs of its own. Nothing in the file is written
by hand: lines in brackets say what this script did, all others are what the commands printed, with the second in which
they did. A second reader takes the same record as JSON through the same cuts, and its numbers are counted at the end.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from fakes.sshd import sshd
from helpers.session_recorder import PROGRAM, TIMEOUT, Recorder, follow, without_places

TRAIN = "train --recipe demo name=demo num_workers=1 batch_size=32 width=8 --detach"


def record(folder: Path) -> list[str]:
    """The session."""
    there, here = folder / "there", folder / "here"
    subprocess.run(
        [*PROGRAM, *TRAIN.split()], env={**os.environ, "GPUTRAIN_HOME": str(there)}, check=True, capture_output=True
    )
    os.environ["GPUTRAIN_HOME"] = str(here)
    numbers: list[int] = []

    def count(line: str) -> None:
        if line.startswith("{") and (number := json.loads(line).get("seq")):
            numbers.append(number)

    recorder = Recorder()
    with sshd(folder / "sshd", {"GPUTRAIN_HOME": str(there)}) as box:
        os.environ["GPUTRAIN_SSH"] = box.ssh
        recorder.run("runs")
        recorder.run("runs box:")
        recorder.add("$ gputrain-tui tail box:demo --plain")
        readers = [follow("tail box:demo --plain", recorder.add), follow("tail box:demo --json", count)]
        recorder.wait_for("img/s", 3)
        recorder.add(f"[both connections are cut without a word: {len(box.sessions())} processes of sshd are killed]")
        box.cut()
        recorder.wait_for("connected again")
        steps = sum("img/s" in line for line in recorder.lines)
        recorder.wait_for("img/s", steps + 2)
        recorder.add("[the whole server is killed]")
        box.stop()
        recorder.wait_for("no connection", 2)
        time.sleep(4)
        box.start()
        recorder.add("[the server is there again]")
        recorder.wait_for("connected again", 2)
        steps = sum("img/s" in line for line in recorder.lines)
        recorder.wait_for("img/s", steps + 2)
        recorder.run("stop box:demo")
        for process, thread in readers:
            process.wait(TIMEOUT)
            thread.join(TIMEOUT)
    (run,) = (there / "runs").iterdir()
    written = [json.loads(line)["seq"] for line in (run / "events.jsonl").read_bytes().splitlines()]
    same = numbers == written == list(range(1, len(written) + 1))
    recorder.add(
        f"[the reader of JSON got {len(numbers)} events, the record has {len(written)}, none missing or twice: {same}]"
    )
    return recorder.lines


def main() -> None:
    """Write the session to the file that is named."""
    with tempfile.TemporaryDirectory(prefix="gputrain-record-") as folder:
        text = without_places("\n".join(record(Path(folder))), Path(folder))
    text = re.sub(r"127\.0\.0\.1 port \d+", "127.0.0.1", text)
    Path(sys.argv[1]).write_text(text + "\n")


if __name__ == "__main__":
    main()
