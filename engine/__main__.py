"""``python -P -m gputrain.engine RUN_DIR [--resume]``: the supervisor of a run, started by `launching.launch`.

``torchrun … -m gputrain.engine CONFIG``: one rank of a run with the settings in that file, see `launched_run`.
"""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from pathlib import Path

from gputrain.engine.common.errors import EXIT_BAD_INPUT, EXIT_FAILED, BadInput
from gputrain.engine.configuration.config_file import read_config
from gputrain.engine.nodes.supervised_hosts import supervise_hosts
from gputrain.engine.runs.run_directory import RunDir
from gputrain.engine.supervision import launched_run
from gputrain.engine.supervision.script_run import script_supervisor
from gputrain.engine.supervision.supervisor import Supervisor
from gputrain.engine.user_script.script_command import has_command


def supervise(run: RunDir, *, resume: bool = False) -> int:
    """Own `run` from its start to its end; `resume`: go on from its newest good checkpoint.

    Returns an exit code for the process table; the record has the truth.
    """
    # Whatever this run or its children write is its owner's alone.
    os.umask(0o077)
    if not run.own():
        print(f"{run.id} already has a supervisor", file=sys.stderr)
        return 1
    try:
        config = read_config(run.config)
        if config.distributed.hosts and not has_command(run):
            return supervise_hosts(run, config, resume=resume)
        supervisor = script_supervisor(run, config) if has_command(run) else Supervisor(run, config, resume=resume)
    except BadInput as error:
        print(error, file=sys.stderr)
        return 2
    supervisor.install_signals()
    try:
        return supervisor.main()
    except Exception:  # noqa: BLE001 - an error in this program
        with contextlib.suppress(OSError):
            traceback.print_exc()
        # A regular exit would wait for the trainer, for ever. It sees that its supervisor is gone, saves and ends.
        os._exit(EXIT_FAILED)


def train_as_rank(file: Path) -> int:
    """Train as one of a launcher's ranks; returns the exit code."""
    os.umask(0o077)
    try:
        return launched_run.train(file, os.environ)
    except BadInput as error:
        print(error, file=sys.stderr)
        return EXIT_BAD_INPUT


if __name__ == "__main__":
    if len(sys.argv) == 2 and Path(sys.argv[1]).suffix in (".yaml", ".yml"):
        sys.exit(train_as_rank(Path(sys.argv[1])))
    sys.exit(supervise(RunDir(Path(sys.argv[1])), resume="--resume" in sys.argv[2:]))
