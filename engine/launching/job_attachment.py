"""Attaching to a run that Slurm starts: it waits while the job is queued, and stops the job by scancel."""

from __future__ import annotations

import contextlib
import time

from gputrain.engine.events import AnyEvent, RunEnded
from gputrain.engine.events.commands import AnyCommand, StopCommand
from gputrain.engine.launching.attachment import Attachment, NotLiveError
from gputrain.engine.runs.run_directory import RunDir
from gputrain.engine.slurm import job_file, queue_state, slurm_commands
from gputrain.engine.slurm.job_file import SlurmJob
from gputrain.engine.slurm.queue_reason import QUEUED, why_waiting
from gputrain.engine.slurm.queue_watch import QueueWatch
from gputrain.engine.slurm.slurm_commands import JobState, SlurmError


class JobAttachment(Attachment):
    """An `Attachment` that outlasts the waits between the starts of a job."""

    def __init__(self, run: RunDir, job: SlurmJob, outlined: bool) -> None:
        super().__init__(run, outlined)
        self._job, self._watch = job, QueueWatch()
        self._held: AnyEvent | None = None
        """The end of a start that Slurm has stopped, as long as the job may start again."""

    def read(self, timeout: float = 0.5, limit: int = 5000) -> list[AnyEvent]:
        """See `Attachment.read`. While the job waits, `trouble` says why."""
        found = super().read(timeout, limit)
        if found and self._may_go_on(found[-1]):
            self._held, self.ended = found.pop(), False
        elif found:
            self._held = None
        if found or self.ended or self.live:
            self.trouble = ""
            return found
        return self._wait_for_start(timeout) if self.abandoned or self._held is not None else []

    def _may_go_on(self, event: AnyEvent) -> bool:
        """Whether `event` is an end after which Slurm starts the run again."""
        if not isinstance(event, RunEnded) or not event.preempted:
            return False
        return self._may_start() and not job_file.stop_requested(self.run, self._job.number)

    def _wait_for_start(self, timeout: float) -> list[AnyEvent]:
        """The run is not live: wait for its job. Once that is over, the end of the run."""
        if not self._may_start():
            held, self._held, self.trouble = self._held, None, ""
            self.ended, self.abandoned = held is not None, held is None
            return [held] if held is not None else []
        self.ended = self.abandoned = False
        number = self._job.number
        state = self._watch.states((number,))[number] if number else JobState(reason="it is being submitted")
        if state.over:
            queue_state.settle(self.run, self._job, state)
            return []
        if state.waiting and job_file.stop_requested(self.run, self._job.number):
            # The request came while the job was on its way back into the queue.
            with contextlib.suppress(OSError):
                slurm_commands.cancel(self._job.number)
        self.trouble = QUEUED + why_waiting(self._job.number, state)
        time.sleep(timeout)
        return []

    def _may_start(self) -> bool:
        job = job_file.read_job(self.run)
        if job is not None:
            self._job = job
        return job is not None and not job.over

    def send(self, command: AnyCommand) -> None:
        """See `Attachment.send`; a stop reaches the job from any machine of the cluster. Raises NotLiveError."""
        if not isinstance(command, StopCommand):
            super().send(command)
            return
        if not self._may_start():
            raise NotLiveError(f"{self.run.id} is not running: Slurm job {self._job.number} is over")
        try:
            self._stop(command)
        except OSError as error:
            raise NotLiveError(f"{self.run.id} cannot be stopped: {error}") from error

    def _stop(self, command: StopCommand) -> None:
        """Raises OSError."""
        number = self._job.number
        job_file.request_stop(self.run, self._job)
        state = slurm_commands.job_states((number,))[number]
        if not state.known:
            raise SlurmError(state.reason)
        if state.over:
            queue_state.settle(self.run, self._job, state)
        elif state.waiting or not command.checkpoint:
            slurm_commands.cancel(number)
        else:
            # Not by SIGTERM, which Slurm follows with SIGKILL after KillWait: a checkpoint may take longer.
            slurm_commands.cancel(number, "USR1")
