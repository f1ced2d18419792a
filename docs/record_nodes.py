"""Record a session: one run on two machines with two ranks on each; a machine is killed, and comes back.

    python docs/record_nodes.py docs/nodes-session.txt      needs root, iproute2 and OpenSSH; two to four minutes

The machines are network namespaces with addresses, host names and files of their own, and a real sshd in each. Nothing
in the file is written by hand: lines in brackets say what this script did, all others are what the commands printed,
with the second in which they did. Two pictures of the run's dashboard are taken once the machine is back.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from fakes.network_hosts import network_hosts
from helpers.session_recorder import PROGRAM, Recorder, follow, in_namespaces, without_places
from helpers.tui import screenshots

from gputrain.engine.launching import launch
from gputrain.engine.runs import run_directory
from gputrain.tui.app import GpuTrainApp

TRAIN = (
    "train --recipe demo --hosts node-a,node-b devices=2 name=demo num_workers=0 batch_size=16 width=16 epochs=200"
    " checkpoint_epochs=0 checkpoint_steps=20 --detach"
)
PICTURES = {"dashboard-nodes": "", "nodes": "ranks"}
"""Below docs/screens: the panel that fills each, if one does."""
HERE = Path(__file__).resolve().parent
SIZE = (120, 35)
HOST = "head"
TIMEOUT = 240.0


def draw_images(home: Path) -> None:
    """The images of the demo, which the first run draws, unless $GPUTRAIN_CACHE has them."""
    if any(Path(os.environ["GPUTRAIN_CACHE"]).glob("demo-*")):
        return
    words = ["train", "--recipe", "demo", "epochs=1", "width=4", "num_workers=1", "--plain"]
    subprocess.run([*PROGRAM, *words], env={**os.environ, "GPUTRAIN_HOME": str(home)}, check=True, capture_output=True)


def take_pictures() -> None:
    """The dashboard of the newest run as it is now."""
    run = run_directory.find("last")
    for name, full in PICTURES.items():
        drawn = asyncio.run(screenshots.picture(GpuTrainApp(launch.attach(run)), SIZE, full))
        (HERE / "screens" / f"{name}-120x35.svg").write_text(drawn + "\n")


def record(folder: Path) -> list[str]:
    """The session."""
    os.environ.setdefault("GPUTRAIN_CACHE", str(folder / "cache"))
    os.environ["GPUTRAIN_CONFIG"] = str(folder / "config")
    draw_images(folder / "before")
    home = folder / "home"
    home.mkdir()
    os.environ["GPUTRAIN_HOME"] = str(home)
    logins = {name: os.environ[name] for name in ("GPUTRAIN_HOME", "GPUTRAIN_CACHE", "GPUTRAIN_CONFIG")}
    logins |= {"PYTHONPATH": os.environ.get("PYTHONPATH", ""), "OMP_NUM_THREADS": "1"}
    recorder = Recorder(TIMEOUT)
    # Each machine has an empty folder of runs of its own.
    with network_hosts(folder / "network", ["node-a", "node-b"], logins, home) as network:
        os.environ["GPUTRAIN_SSH"] = network.ssh
        lost = network.hosts[1]
        assert recorder.run(TRAIN) == 0, recorder.lines
        recorder.add("$ gputrain-tui tail last --plain")
        reader, thread = follow("tail last --plain", recorder.add)
        recorder.wait_for("img/s", 4)
        recorder.add("[node-b is killed: its agent, its ranks and its sshd, without a word]")
        recorder.add(f"[{lost.kill()} processes were killed]")
        recorder.wait_for("node node-b is lost")
        recorder.wait_for_next("img/s", 3)
        lost.boot()
        recorder.add("[node-b is up again: only its sshd runs]")
        recorder.wait_for("starting again with it")
        recorder.wait_for_next("img/s", 5)
        take_pictures()
        recorder.run("stop last")
        reader.wait(TIMEOUT)
        thread.join(TIMEOUT)
        left = [process for host in network.hosts for process in host.pythons()]
        recorder.add(f"[processes of the run that are left on node-a and node-b: {len(left)}]")
    return recorder.lines


def main() -> None:
    """Write the session to the file that is named."""
    in_namespaces(HOST)
    with tempfile.TemporaryDirectory(prefix="gputrain-record-") as folder:
        text = without_places("\n".join(record(Path(folder))), Path(folder))
    Path(sys.argv[1]).write_text(text + "\n")


if __name__ == "__main__":
    main()
