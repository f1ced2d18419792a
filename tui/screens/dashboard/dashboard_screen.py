"""The dashboard of one run, live or finished."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from textual.binding import BindingType

from gputrain.engine.common.sanitize import plain
from gputrain.engine.events.commands import AnyCommand, CheckpointCommand, ProfileCommand, StacksCommand, StopCommand
from gputrain.tui.layout.key_bindings import INNER_KEYS, KEYS, Key
from gputrain.tui.layout.panel_layout import Place, arrange
from gputrain.tui.layout.textual_bindings import bindings
from gputrain.tui.render.advice_text import settings_words, skipped_hints
from gputrain.tui.screens.dashboard.panel_screen import PanelScreen
from gputrain.tui.screens.messages import ActionFinished, DashboardClosed
from gputrain.tui.screens.quit_result import quit_result
from gputrain.tui.state import command_sender
from gputrain.tui.state.event_source import RunSource
from gputrain.tui.state.reader_thread import FRAME_SECONDS
from gputrain.tui.widgets.panel import Panel, View
from gputrain.tui.widgets.panels.compact import CompactPanel, MachinePanel
from gputrain.tui.widgets.panels.curves import LossPanel, MetricPanel, ThroughputPanel
from gputrain.tui.widgets.panels.disks import DiskPanel
from gputrain.tui.widgets.panels.gpus import GpuPanel
from gputrain.tui.widgets.panels.hints import HintsPanel
from gputrain.tui.widgets.panels.log import LogPanel
from gputrain.tui.widgets.panels.machine_panels import CpuPanel, RamPanel
from gputrain.tui.widgets.panels.pipeline import PipelinePanel
from gputrain.tui.widgets.panels.processes import ProcessesPanel
from gputrain.tui.widgets.panels.ranks import RanksPanel
from gputrain.tui.widgets.panels.run_panel import RunPanel
from gputrain.tui.widgets.panels.status_line import StatusPanel
from gputrain.tui.widgets.tiles import Tiles

if TYPE_CHECKING:
    from gputrain.tui.screens.dashboard.quit_dialog import Choice


class DashboardScreen(PanelScreen):
    """Panels of a run, and keys that send commands to it.

    Dialogs are imported when they open, so that the first paint does not wait for them.
    """

    KEYS: ClassVar[tuple[Key, ...]] = KEYS
    BINDINGS: ClassVar[list[BindingType]] = bindings(KEYS)
    CHART: ClassVar[str] = "throughput"

    def __init__(self, source: RunSource, frame_seconds: float = FRAME_SECONDS, *, inner: bool = False) -> None:
        """`inner`: another screen is below this one; closing returns to it."""
        super().__init__(source, "this run", frame_seconds)
        self._source = source
        self._inner = inner
        self._summary_shown = False
        self._notified = ""
        self._requested: set[str] = set()
        """Stacks and traces that this dashboard asked for and has not shown yet."""
        self._ranks = 1

    @property
    def keys(self) -> Sequence[Key]:
        """The keys; with another screen below, q means back. A script can't be asked for a checkpoint."""
        keys = INNER_KEYS if self._inner else KEYS
        if self._newest.now.is_script:
            return tuple(key for key in keys if key.action != "checkpoint")
        return keys

    @property
    def live_run(self) -> str:
        """Id of the run while it is live."""
        return self._source.run.id if self._is_live() else ""

    def panels(self) -> Iterable[Panel]:
        """All panels; the layout decides which of them are visible."""
        return (
            StatusPanel(id="status"),
            PipelinePanel(id="pipeline"),
            HintsPanel(id="hints"),
            ThroughputPanel(id="throughput"),
            LossPanel(id="loss"),
            MetricPanel(id="metric"),
            GpuPanel(id="gpu"),
            CpuPanel(id="cpu"),
            RamPanel(id="ram"),
            DiskPanel(id="disk"),
            MachinePanel(id="machine"),
            CompactPanel(id="compact"),
            LogPanel(id="log"),
            RanksPanel(id="ranks"),
            ProcessesPanel(id="processes"),
            RunPanel(id="run"),
        )

    def arranged(self, width: int, height: int, gpus: int, full: str) -> Mapping[str, Place]:
        """Places of the panels in a window of this size."""
        return arrange(width, height, gpus, full, self._ranks)

    def watch_view(self, view: View) -> None:
        """Show the view; when the run ends, open the summary."""
        if view.now.ranks.count != self._ranks:
            self._ranks = view.now.ranks.count
            self.query_one(Tiles).rearrange()
        super().watch_view(view)
        self._key_bar.offer(self.keys)
        self._show_answers()
        if view.now.outcome is not None and view.caught_up and not self._summary_shown:
            self._summary_shown = True
            from gputrain.tui.screens.dashboard.summary_screen import SummaryScreen

            self.app.push_screen(SummaryScreen(view, self._source.run.directory, inner=self._inner), self._on_summary)

    # Keys.

    def action_leave(self) -> None:
        """Close the dashboard; ask first if the run is live and no screen is below."""
        if self._inner:
            self._leave(detached=self._is_live())
        elif self._is_live():
            self._ask(stopping=False)
        else:
            self._leave(detached=False)

    def action_stop_run(self) -> None:
        """Ask how to stop the run."""
        if self._is_live():
            self._ask(stopping=True)
        else:
            self.notify("the run has ended", markup=False)

    def action_detach(self) -> None:
        """Close the dashboard; the run continues."""
        self._leave(detached=self._is_live())

    def action_checkpoint(self) -> None:
        """Request a checkpoint."""
        if self._newest.now.is_script:
            self.notify("a script of your own saves its checkpoints itself: it can't be asked for one", markup=False)
            return
        self._send(CheckpointCommand(sender=command_sender.sender()), "checkpoint")

    def action_apply(self) -> None:
        """Try the first hint whose setting can change while training; show which hints are skipped, and why."""
        if not self._is_live():
            self.notify("the run has ended", markup=False)
            return
        # Imported here: with the settings and PyYAML it takes a tenth of the time to the first paint.
        from gputrain.engine.diagnosis.autotune import tune_command

        hints = self._newest.now.hints
        tunes = [tune_command(hint, command_sender.sender()) for hint in hints]
        place, tune = next(((at, one) for at, one in enumerate(tunes) if one is not None), (len(hints), None))
        skipped = skipped_hints(hints[:place])
        if skipped:
            self.notify(skipped, markup=False)
        if tune is not None:
            reason = f" for: {plain(hints[place].title, 100)}" if place else ""
            self._send(tune, f"try {settings_words(tune.changes)}{reason}")
        elif not skipped:
            self.notify("no hint suggests a setting that can change now", markup=False)

    def action_why(self) -> None:
        """Show the reasons behind the hints."""
        from gputrain.tui.screens.dashboard.why_screen import WhyScreen

        self.app.push_screen(WhyScreen(self._newest.now.hints, self._newest.ascii))

    def action_stacks(self) -> None:
        """Ask for the stacks of all threads; they open when they are there."""
        if not self._is_live():
            self.notify("the run has ended", markup=False)
            return
        request = secrets.token_hex(8)
        self._requested.add(request)
        self._send(StacksCommand(id=request, sender=command_sender.sender()), "the stacks of all threads")

    def action_profile(self) -> None:
        """Ask for a trace of the next steps; its summary opens when it is there."""
        if not self._is_live():
            self.notify("the run has ended", markup=False)
            return
        request = secrets.token_hex(8)
        self._requested.add(request)
        self._send(ProfileCommand(id=request, sender=command_sender.sender()), "a trace of the next 10 steps")

    def _show_answers(self) -> None:
        traced = self._newest.now.traced
        if traced is not None and traced.request in self._requested and traced.verdict != "recording":
            if traced.verdict == "waiting":
                self._notify_once(traced.text)
                return
            self._requested.discard(traced.request)
            from gputrain.tui.screens.dashboard.trace_screen import TraceScreen

            self.app.push_screen(TraceScreen(traced, self._newest.ascii))
        stacks = self._newest.now.stacks
        if stacks is not None and stacks.request in self._requested:
            self._requested.discard(stacks.request)
            from gputrain.tui.screens.dashboard.stacks_screen import StacksScreen

            self.app.push_screen(StacksScreen(stacks, self._newest.ascii))

    def _notify_once(self, text: str) -> None:
        if text != self._notified:
            self._notified = text
            self.notify(text, markup=False)

    def action_next_measure(self) -> None:
        """Show the ranks; if they are shown, by the next measure."""
        ranks = self.query_one("#ranks", RanksPanel)
        if self._newest.now.ranks.count < 2:
            self.notify("this run trains in one process", markup=False)
        elif ranks.display:
            ranks.next_measure()
        else:
            self._reveal("ranks")

    def action_search(self) -> None:
        """Ask for a text; the log then shows only lines that contain it."""
        from gputrain.tui.screens.dashboard.search_line import SearchScreen

        self.app.push_screen(SearchScreen(self._newest.search), self._on_search)

    def action_back(self) -> None:
        """Leave full screen, else the search, else return to the screen below."""
        if self._in_full:
            super().action_back()
        elif self._newest.search:
            self._change(search="")
        elif self._inner:
            self.action_leave()

    # Answers of the dialogs.

    def _is_live(self) -> bool:
        return self._newest.now.outcome is None and not self._newest.died

    def _ask(self, stopping: bool) -> None:
        from gputrain.tui.screens.dashboard.quit_dialog import QuitScreen

        now = self._newest.now
        command = str(now.settings.get("command", "")) if now.is_script else ""
        self.app.push_screen(QuitScreen(self._source.run.id, stopping=stopping, command=command), self._on_choice)

    def _on_choice(self, choice: Choice | None) -> None:
        if choice == "detach":
            self._leave(detached=True)
        elif choice is not None and choice != "cancel":
            command = StopCommand(checkpoint=choice == "stop", sender=command_sender.sender())
            stop, stop_now = (
                ("SIGINT", "SIGTERM") if self._newest.now.is_script else ("stop after a checkpoint", "stop now")
            )
            self._send(command, stop if choice == "stop" else stop_now)

    def _on_search(self, text: str | None) -> None:
        if text is not None:
            self._change(search=text)
            if text and not self.query_one(LogPanel).display:
                self._reveal("log")

    def _on_summary(self, leave: bool | None) -> None:
        if leave:
            self._leave(detached=False)

    def _send(self, command: AnyCommand, name: str) -> None:
        # Reports only whether the run received the command; the result comes as an event.
        def done(why: str) -> None:
            text = f"{name} was not accepted: {why}" if why else f"requested: {name}"
            self.post_message(ActionFinished(text, failed=bool(why)))

        command_sender.send(self._source, command, done)

    def _leave(self, detached: bool) -> None:
        self._reader.stop()
        self.app.post_message(DashboardClosed(quit_result(self._source.run.id, self._newest, detached), self._inner))
