"""The fault matrix: every fault that is tried, in an order in which one run can serve several of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import gpus
import hosts
import kernel
import killing
import limits
import output
import owncode
import ownership
import pytest
import training
from fakes.network_hosts import cannot_limit_links, cannot_make_hosts
from faultlab import Finding, Lab


def _always() -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault."""

    provoke: Callable[[Lab], Finding]
    unavailable: Callable[[], str] = _always
    """Why it cannot be tried on this machine; empty if it can."""
    marks: tuple[pytest.MarkDecorator, ...] = ()
    in_suite: bool = True
    """Whether the tests try it too; if not, the benchmark alone."""

    @property
    def name(self) -> str:
        """Its name in reports."""
        return self.provoke.__name__

    @property
    def what(self) -> str:
        """What happens, and the required outcome."""
        return (self.provoke.__doc__ or "").strip()


SLOW = (pytest.mark.slow,)

FAULTS = (
    Fault(killing.dashboard),
    Fault(output.long_line),
    Fault(output.many_lines),
    Fault(limits.disk_full_on_log),
    Fault(limits.disk_full_on_checkpoint),
    Fault(limits.few_descriptors),
    Fault(ownership.two_launches),
    Fault(ownership.stale_socket),
    Fault(killing.supervisor),
    Fault(killing.trainer_outlives_supervisor),
    Fault(killing.trainer, marks=SLOW),
    Fault(killing.trainer_while_saving, in_suite=False),
    Fault(killing.data_worker, marks=SLOW),
    Fault(training.hang, marks=SLOW),
    Fault(training.frozen, marks=SLOW),
    Fault(training.nan_stops, marks=SLOW),
    Fault(training.nan_skipped, marks=SLOW),
    Fault(training.bad_files, marks=SLOW),
    Fault(owncode.dataset_raises_in_process, marks=SLOW),
    Fault(owncode.dataset_raises_in_trainer, in_suite=False),
    Fault(owncode.own_worker, marks=SLOW),
    Fault(owncode.own_worker_hangs_stopped_now, marks=SLOW),
    Fault(owncode.own_worker_hangs_trainer_killed, marks=SLOW),
    Fault(owncode.own_data_never_come, marks=SLOW),
    Fault(gpus.nvml_lost, gpus.cannot_compile, SLOW),
    Fault(gpus.memory_runs_out, marks=SLOW),
    Fault(kernel.out_of_memory, kernel.cannot_limit_memory, SLOW),
    Fault(limits.small_disk_full, limits.cannot_mount, SLOW),
    Fault(limits.few_descriptors_at_start, in_suite=False),
    Fault(limits.little_shared_memory, limits.cannot_unshare, in_suite=False),
    Fault(limits.shared_memory_full, limits.cannot_unshare),
    Fault(limits.read_only_home, limits.cannot_drop_root),
    *(
        Fault(one, cannot_make_hosts, in_suite=False)
        for one in (
            hosts.host_rank_killed,
            hosts.host_agent_killed,
            hosts.host_killed,
            hosts.host_of_two_ranks_killed,
            hosts.first_host_killed,
            hosts.host_cut_off,
            hosts.first_host_cut_off,
            hosts.host_cut_off_briefly,
            hosts.host_frozen,
            hosts.first_host_disk_full,
            hosts.host_slow,
            hosts.host_rank_frozen,
            hosts.hosts_cut_off_from_each_other,
            hosts.hosts_supervisor_killed,
        )
    ),
    Fault(hosts.host_link_slow, cannot_limit_links, in_suite=False),
    Fault(ownership.reused_pid),
    Fault(ownership.clock_backwards, gpus.cannot_compile),
    Fault(ownership.torn_record),
    Fault(ownership.damaged_files),
)
