"""``python -P -m gputrain.engine RUN_DIR [--resume]``: the supervisor of a run, started by `launching.launch`.

``torchrun … -m gputrain.engine CONFIG [--continue]``: one rank of a run with the settings in that file, see
`launched_run`.
``srun … -m gputrain.engine RUN_DIR --job``: one rank of a run that was submitted to Slurm, see `slurm_job_start`.
"""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from gputrain.engine.common.errors import EXIT_BAD_INPUT, EXIT_FAILED, BadInput
from gputrain.engine.configuration.config_file import read_config
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.runs.run_directory import RunDir
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
            from gputrain.engine.nodes.supervised_hosts import supervise_hosts  # every other run starts without it

            return supervise_hosts(run, config, resume=resume)
        supervisor = _supervisor(run, config, resume=resume)
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


def _supervisor(run: RunDir, config: RunConfig, *, resume: bool) -> Supervisor:
    if not has_command(run):
        return Supervisor(run, config, resume=resume)
    from gputrain.engine.supervision.script_run import script_supervisor  # every other run starts without it

    return script_supervisor(run, config)


def train_as_rank(train: Callable[[], int]) -> int:
    """Train as one of a launcher's ranks by `train`; returns the exit code."""
    os.umask(0o077)
    try:
        return train()
    except BadInput as error:
        print(error, file=sys.stderr)
        return EXIT_BAD_INPUT


def main(words: list[str]) -> int:
    """What the words of the command line ask for. Returns the exit code."""
    place = Path(words[0])
    if place.suffix in (".yaml", ".yml") and words[1:] in ([], ["--continue"]):
        from gputrain.engine.supervision.launched import launched_run  # it plans, which no supervisor does

        return train_as_rank(lambda: launched_run.train(place, os.environ, goes_on=len(words) > 1))
    if "--job" in words[1:]:
        from gputrain.engine.supervision.launched import slurm_job_start

        return train_as_rank(lambda: slurm_job_start.train(RunDir(place), os.environ))
    return supervise(RunDir(place), resume="--resume" in words[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
