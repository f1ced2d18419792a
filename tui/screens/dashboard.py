"""The dashboard on one run, live or over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from msgspec.structs import replace
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.events import Click, Unmount
from textual.reactive import reactive
from textual.screen import Screen

from gputrain.engine.events import AnyCommand, Checkpoint, Stop
from gputrain.tui import commander
from gputrain.tui.arrangement import Place, arrange
from gputrain.tui.keys import KEYS
from gputrain.tui.leaving import leaving
from gputrain.tui.messages import CommandSent, FrameReady, Left, ReaderFailed
from gputrain.tui.reader import Frame, Reader
from gputrain.tui.screens.help import HelpScreen
from gputrain.tui.screens.quit import Choice, QuitScreen
from gputrain.tui.screens.search import SearchScreen
from gputrain.tui.screens.summary import SummaryScreen
from gputrain.tui.source import RunSource
from gputrain.tui.theme import palette, wants_ascii
from gputrain.tui.widgets.chart import ZOOMS
from gputrain.tui.widgets.compact import CompactPanel, MachinePanel
from gputrain.tui.widgets.curves import LossPanel, MetricPanel, ThroughputPanel
from gputrain.tui.widgets.gpus import GpuPanel
from gputrain.tui.widgets.hints import HintsPanel
from gputrain.tui.widgets.keybar import KeyBar
from gputrain.tui.widgets.log import LogPanel
from gputrain.tui.widgets.machine import CpuPanel, DiskPanel, RamPanel
from gputrain.tui.widgets.panel import Panel, View
from gputrain.tui.widgets.pipeline import PipelinePanel
from gputrain.tui.widgets.run import RunPanel
from gputrain.tui.widgets.status import StatusPanel
from gputrain.tui.widgets.tiles import Tiles
from gputrain.tui.widgets.too_small import TooSmallPanel


class DashboardScreen(Screen[None]):
    """Panels over one frame at a time. Events are read by a thread; this screen never waits for them."""

    AUTO_FOCUS = ""
    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(key.keys, key.action, key.label, tooltip=key.help) for key in KEYS if key.keys != "tab"),
        Binding("ctrl+c", "leave", "quit", show=False, priority=True),
        Binding("escape", "back", "back", show=False),
    ]

    view: reactive[View] = reactive(View(), init=False, repaint=False)

    def __init__(self, source: RunSource) -> None:
        super().__init__()
        self._source = source
        self._reader = Reader(source, self._post_frame, self._post_failure)
        self._newest = View(ascii=wants_ascii())
        self._full = ""
        self._gpus = 0
        self._told = False
        self.set_reactive(DashboardScreen.view, self._newest)

    def compose(self) -> ComposeResult:
        """All panels; the arrangement chooses which are shown."""
        yield Tiles(
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
            RunPanel(id="run"),
            TooSmallPanel(id="too_small"),
            KeyBar(id="keys"),
            arrange=self._places,
        )

    def _places(self, width: int, height: int) -> Mapping[str, Place]:
        places = arrange(width, height, self._gpus, self._full)
        return places or {"too_small": Place(0, 0, width, height)}

    def on_mount(self) -> None:
        """Colours, then begin to read."""
        self.app.theme_changed_signal.subscribe(self, lambda _theme: self._restyle())
        self._restyle()
        self._reader.start()

    def on_unmount(self, _event: Unmount) -> None:
        """The reader must not outlive the screen."""
        self._reader.stop()

    def _post_frame(self, frame: Frame) -> None:
        # On the reader's thread; after the screen is gone nobody takes it, and nobody misses it.
        self.post_message(FrameReady(frame))

    def _post_failure(self, error: Exception) -> None:
        self.post_message(ReaderFailed(error))

    def on_reader_failed(self, message: ReaderFailed) -> None:
        """End with the error: a screen that stands still for ever would hide it. The run goes on."""
        raise message.error

    def _restyle(self) -> None:
        background = self.styles.background.rich_color
        colours = palette(self.app.current_theme, background, mono=self.app.no_color)
        for panel in self._panels():
            panel.restyle(colours)

    def _panels(self) -> list[Panel]:
        return [panel for panel in self.query(Panel) if isinstance(panel, Panel)]

    # From the reader to the panels.

    def on_frame_ready(self, message: FrameReady) -> None:
        """Take the frame; a held view stays as it is."""
        frame = message.frame
        self._newest = replace(
            self._newest,
            now=frame.now,
            live=frame.live,
            caught_up=frame.caught_up,
            error=frame.error,
            trouble=frame.trouble,
        )
        if not self._newest.paused:
            self.view = self._newest

    def watch_view(self, view: View) -> None:
        """Show it."""
        gpus = len(view.now.hardware.gpus) if view.now.hardware else 0
        if gpus != self._gpus:
            self._gpus = gpus
            self.query_one(Tiles).rearrange()
        for panel in self._panels():
            if panel.display:
                panel.show(view)
        if view.now.outcome is not None and view.caught_up and not self._told:
            self._told = True
            self.app.push_screen(SummaryScreen(view, self._source.run.directory), self._on_summary)

    def _change(self, **changes: object) -> None:
        self._newest = replace(self._newest, **changes)
        self.view = self._newest if not self._newest.paused else replace(self.view, **changes)

    # Keys.

    def action_leave(self) -> None:
        """Leave; with a run going, ask how."""
        if self._going():
            self.app.push_screen(QuitScreen(self._source.run.id, stopping=False), self._on_choice)
        else:
            self._leave(detached=False)

    def action_stop_run(self) -> None:
        """Ask how to stop."""
        if self._going():
            self.app.push_screen(QuitScreen(self._source.run.id, stopping=True), self._on_choice)
        else:
            self.notify("the run is over", markup=False)

    def action_detach(self) -> None:
        """Leave the run alone."""
        self._leave(detached=self._going())

    def action_checkpoint(self) -> None:
        """Ask for a checkpoint."""
        self._send(Checkpoint(sender=commander.sender()), "checkpoint")

    def action_pause_view(self) -> None:
        """Hold the view, or let it go on."""
        paused = not self._newest.paused
        self._newest = replace(self._newest, paused=paused)
        self.view = replace(self.view, paused=True) if paused else self._newest

    def action_zoom(self, step: int) -> None:
        """Charts over a shorter (+1) or longer (−1) time."""
        self._change(zoom=max(0, min(len(ZOOMS) - 1, self._newest.zoom + step)))

    def action_full_screen(self) -> None:
        """The focused panel takes the whole body, or goes back to its place."""
        panel = self.focused
        if self._full:
            self._full = ""
        elif isinstance(panel, Panel) and panel.id and panel.display:
            self._full = panel.id
        else:
            self.notify("choose a panel first: tab, or a click on it", markup=False)
            return
        self.query_one(Tiles).rearrange()
        self.call_after_refresh(self._show_all)

    def _show_all(self) -> None:
        for panel in self._panels():
            if panel.display:
                panel.show(self.view)

    def action_search(self) -> None:
        """Ask for a text that log lines must hold."""
        self.app.push_screen(SearchScreen(self._newest.search), self._on_search)

    def action_explain(self) -> None:
        """The help."""
        self.app.push_screen(HelpScreen(self.view.ascii))

    def action_back(self) -> None:
        """Out of a full-screen panel, else out of a search."""
        if self._full:
            self.action_full_screen()
        elif self._newest.search:
            self._change(search="")

    def on_click(self, event: Click) -> None:
        """A double click is full screen."""
        if event.chain == 2:
            self.action_full_screen()

    # What the person chose.

    def _going(self) -> bool:
        return self._newest.now.outcome is None and not self._newest.gone

    def _on_choice(self, choice: Choice | None) -> None:
        if choice == "detach":
            self._leave(detached=True)
        elif choice is not None and choice != "cancel":
            command = Stop(checkpoint=choice == "stop", sender=commander.sender())
            self._send(command, "stop after a checkpoint" if choice == "stop" else "stop now")

    def _on_search(self, text: str | None) -> None:
        if text is not None:
            self._change(search=text)

    def _on_summary(self, leave: bool | None) -> None:
        if leave:
            self._leave(detached=False)

    def _send(self, command: AnyCommand, name: str) -> None:
        def done(why: str) -> None:
            text = f"{name} was not taken: {why}" if why else f"asked for: {name}"
            self.post_message(CommandSent(text, failed=bool(why)))

        commander.send(self._source, command, done)

    def on_command_sent(self, message: CommandSent) -> None:
        """Say what became of a command; the run's own answer comes with its events."""
        self.notify(message.text, severity="error" if message.failed else "information", markup=False)

    def _leave(self, detached: bool) -> None:
        self._reader.stop()
        self.app.post_message(Left(leaving(self._source.run.id, self._newest, detached)))
