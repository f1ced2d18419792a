"""The batch script of a run: one srun task for each rank, a checkpoint and a requeue at the time limit. Pure."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from gputrain.engine.slurm.job_file import EXIT, LOG, SCRIPT, STOP
from gputrain.engine.slurm.slurm_options import SlurmOptions

WAIT_SECONDS = 300
"""After the first rank has ended, Slurm gives the others this long."""

_TEXT = """\
#!/bin/bash
# A run of gputrain-tui. To submit it once more, for example with another time limit: cd to this folder, sbatch {script}
{options}
run={run}
# At the time limit Slurm sends SIGTERM to this shell, too. It must live on to requeue the job.
trap : TERM USR1
rm -f "$run/{exit}"
# The ranks meet on this node, at a port that is free.
port=$({python} -P -c 'import socket; print(socket.create_server(("", 0)).getsockname()[1])')
[ -z "$port" ] || export MASTER_PORT=$port
srun --nodes={nodes} --ntasks={ranks} --ntasks-per-node={each} --cpus-per-task={cpus} --wait={wait} \\
  {python} -P -m gputrain.engine "$run" --job
code=$?
# The exit code of the run itself; that of srun is the highest of its tasks.
if [ -s "$run/{exit}" ]; then read -r code _ <"$run/{exit}"; fi
# 75: stopped by Slurm after a checkpoint; 138: by SIGUSR1 before Python had started.
case $code in
75 | 138)
  if [ "$(cat "$run/{stop}" 2>/dev/null)" = "$SLURM_JOB_ID" ]; then exit 3; fi
  scontrol requeue "$SLURM_JOB_ID"
  ;;
esac
exit "$code"
"""


def batch_script(run: Path, name: str, options: SlurmOptions, python: str) -> str:
    """The script of the run in directory `run` with this name; `python`: path of the interpreter on the nodes."""
    given = {key: value for key, value in options.given.items() if key != "signal"}
    given |= {
        "job-name": re.sub(r"[^A-Za-z0-9._-]+", "-", name)[:60].strip("-.") or "run",
        "nodes": str(options.nodes),
        "ntasks-per-node": str(options.ranks_per_node),
        "cpus-per-task": str(options.cpus_per_task),
        "signal": options.signal,
        "open-mode": "append",
        "output": LOG,
    }
    lines = [f"#SBATCH --{key}={value}" for key, value in sorted(given.items())]
    return _TEXT.format(
        options="\n".join((*lines, "#SBATCH --requeue")),
        run=shlex.quote(str(run)),
        python=shlex.quote(python),
        nodes=options.nodes,
        ranks=options.ranks,
        each=options.ranks_per_node,
        cpus=options.cpus_per_task,
        wait=WAIT_SECONDS,
        script=SCRIPT,
        exit=EXIT,
        stop=STOP,
    )
