"""Record a session: a run on two nodes of a real Slurm that its time limit ends several times, until it finishes.

    python docs/record_slurm.py docs/slurm-session.txt      needs root, iproute2, OpenSSH, Slurm and munge

It takes six minutes, on a busy machine eleven. Images come from a slow storage, so that each step takes 0.7 s or more:
the time limit ends the run twice or more.

The nodes are network namespaces with addresses and host names of their own, with a real slurmd in each; munged and
slurmctld run beside them. Nothing in the file is written by hand: lines in brackets say what squeue or this script
counted, all others are what the commands printed, with the second in which they did.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from fakes.network_hosts import Network, network_hosts
from fakes.slurm import Slurm, running_slurm
from helpers.session_recorder import Recorder, follow, in_namespaces, without_places
from record_nodes import HOST, draw_images

from gputrain.engine.events import ModelReady, RunEnded, Steps
from gputrain.engine.runs import event_log, run_directory

TRAIN = (
    "train --recipe demo --slurm nodes=2,ntasks-per-node=2,cpus-per-task=1,mem=3000,time=3 name=demo device=cpu"
    " dataset=custom custom=slow_storage:make code_dir=docs augment=none num_workers=0 batch_size=64 width=4"
    " epochs=10 checkpoint_epochs=0 validate_epochs=10 --detach"
)
TIMEOUT = 1500.0
HOSTS_FILE = Path("/etc/hosts")


def let_names_resolve(names: Path, network: Network) -> None:
    """As on a cluster. `names`: the file that stands in place of /etc/hosts in this script's own mount namespace."""
    lines = ["127.0.0.1 localhost", f"{network.address} {HOST}"]
    lines += [f"{host.address} {host.name}" for host in network.hosts]
    names.write_text("\n".join(lines) + "\n")


def queue_state(slurm: Slurm) -> str:
    """The job in Slurm's own words; empty if the queue has none."""
    words = slurm.run("squeue", "-h", "-O", "JobID,State,RestartCnt,Reason,NodeList").split()
    return "job {} {}, restarts {}, reason {}, nodes {}".format(*(*words, "none")[:5]) if words else ""


def counted(recorder: Recorder) -> None:
    """What the record of the newest run says of its starts and steps."""
    kept = list(event_log.read(run_directory.find("last").events))
    starts = [event.start_step for event in kept if isinstance(event, ModelReady)]
    ends = [event.step for event in kept if isinstance(event, RunEnded)]
    steps = sum(event.window_steps for event in kept if isinstance(event, Steps))
    once = starts == [0, *ends[:-1]] and steps == ends[-1]
    recorder.add(f"[the record: starts at the steps {starts}, ends at {ends}; {steps} steps, each done once: {once}]")


def record(folder: Path) -> list[str]:
    """The session."""
    os.environ |= {f"GPUTRAIN_{name}": str(folder / name.lower()) for name in ("HOME", "CONFIG")}
    os.environ.setdefault("GPUTRAIN_CACHE", str(folder / "cache"))
    os.environ["OMP_NUM_THREADS"] = "1"
    draw_images(folder / "before")
    names = folder / "names"
    names.write_bytes(HOSTS_FILE.read_bytes())
    subprocess.run(["mount", "--bind", str(names), str(HOSTS_FILE)], check=True)
    recorder = Recorder(TIMEOUT)
    with network_hosts(folder / "network", ["node-a", "node-b"], {"OMP_NUM_THREADS": "1"}) as network:
        let_names_resolve(names, network)
        with running_slurm(network=network) as slurm:
            os.environ |= {"SLURM_CONF": slurm.environ["SLURM_CONF"], "PATH": slurm.environ["PATH"]}
            assert recorder.run(TRAIN) == 0, recorder.lines
            recorder.add("$ gputrain-tui tail last --plain")
            reader, thread = follow("tail last --plain", recorder.add)
            until, seen = time.monotonic() + TIMEOUT, ""
            while reader.poll() is None:
                assert time.monotonic() < until, recorder.lines
                if (now := queue_state(slurm)) != seen:
                    seen = now
                    recorder.add(f"[squeue: {now or 'no job'}]")
                time.sleep(0.5)
            thread.join()
            recorder.run("runs")
            counted(recorder)
    return recorder.lines


def main() -> None:
    """Write the session to the file that is named."""
    in_namespaces(HOST)
    with tempfile.TemporaryDirectory(prefix="gputrain-record-") as folder:
        text = without_places("\n".join(record(Path(folder))), Path(folder))
    Path(sys.argv[1]).write_text(text + "\n")


if __name__ == "__main__":
    main()
