"""A run with the setting `hosts`: its supervisor, whose trainer is a group of ranks on several nodes."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.events import Outcome, RunEnded
from gputrain.engine.nodes.lost_nodes import NodePool
from gputrain.engine.nodes.node_group import NodeGroup
from gputrain.engine.runs.run_directory import RunDir
from gputrain.engine.supervision import exit_reasons
from gputrain.engine.supervision.supervisor import Supervisor


def supervise_hosts(run: RunDir, config: RunConfig, *, resume: bool = False) -> int:
    """Own the run from its start to its end, on the machines in `hosts`. Returns the supervisor's exit code."""
    pool = NodePool(run, config)
    first = True

    def start(changed: RunConfig, on_event: Callable[[bytes], None]) -> NodeGroup:
        nonlocal first
        group = NodeGroup(pool, run, changed, on_event, first=first)
        first = False
        return group

    def exit_reason(
        reported: RunEnded | None, exit_code: int | None, *, stop_now: bool, oom_killed: bool, step: int
    ) -> RunEnded:
        # This machine's OOM killer says nothing of the nodes, and a lost node's last step is known here alone.
        ended = exit_reasons.exit_reason(reported, exit_code, stop_now=stop_now, oom_killed=False, step=step)
        return replace(ended, step=max(step, ended.step))

    supervisor = Supervisor(run, config, resume=resume, start_child=start, exit_reason=exit_reason)
    supervisor.install_signals()
    try:
        return supervisor.main()
    finally:
        ended = supervisor.ended
        pool.close(keep=ended is None or ended.outcome not in (Outcome.FINISHED, Outcome.STOPPED))
