"""The base of the screens that show panels over frames: a run's dashboard, and the monitor without a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar

from msgspec.structs import replace
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.events import Click, Unmount
from textual.reactive import reactive
from textual.screen import Screen

from gputrain.tui.charts.chart_axes import ZOOMS
from gputrain.tui.layout.key_table import Key
from gputrain.tui.layout.panel_layout import Place
from gputrain.tui.render.charset import wants_ascii
from gputrain.tui.render.theme import palette
from gputrain.tui.screens.messages import ActionFinished, FrameReady, ReaderFailed
from gputrain.tui.state.event_source import EventSource
from gputrain.tui.state.reader_thread import Frame, Reader
from gputrain.tui.widgets.key_bar import KeyBar
from gputrain.tui.widgets.panel import Panel, View
from gputrain.tui.widgets.tiles import Tiles
from gputrain.tui.widgets.too_small import TooSmallPanel


class PanelScreen(Screen[None]):
    """Panels over one frame at a time. Events are read by a thread; this screen never waits for them.

    Subclasses name their keys and panels, and say where these stand.
    """

    AUTO_FOCUS = ""
    KEYS: ClassVar[tuple[Key, ...]] = ()
    """Keys that the line at the bottom and the help show."""
    CHART: ClassVar[str] = ""
    """The panel that shows what a zoom does where no chart is seen."""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+c", "leave", "quit", show=False, priority=True),
        Binding("shift+tab", "next_panel(-1)", show=False),
        Binding("escape", "back", "back", show=False),
    ]

    view: reactive[View] = reactive(View(), init=False, repaint=False)

    def __init__(self, source: EventSource, subject: str, frame_seconds: float) -> None:
        """`subject`: whose processes the figures mean, as in `View.subject`; `frame_seconds`: least time between two
        views."""
        super().__init__()
        self._reader = Reader(source, self._post_frame, self._post_failure, frame_seconds)
        self._newest = View(ascii=wants_ascii(), subject=subject)
        self._full = ""
        """The panel that has the whole body."""
        self._held = False
        """It keeps the body although it has a place of its own."""
        self._gpus = 0
        self.set_reactive(PanelScreen.view, self._newest)

    @property
    def keys(self) -> Sequence[Key]:
        """The keys, as they are meant here."""
        return self.KEYS

    def panels(self) -> Iterable[Panel]:
        """All panels; the arrangement chooses which are shown."""
        raise NotImplementedError

    def arranged(self, width: int, height: int, gpus: int, full: str) -> Mapping[str, Place]:
        """Places of the panels by id; empty where nothing useful fits."""
        raise NotImplementedError

    def compose(self) -> ComposeResult:
        """The panels, the line of keys, and what is said where they don't fit."""
        yield Tiles(*self.panels(), TooSmallPanel(id="too_small"), KeyBar(self.keys, id="keys"), arrange=self._places)

    def _places(self, width: int, height: int) -> Mapping[str, Place]:
        places = self.arranged(width, height, self._gpus, "")
        if places and self._full and (self._held or self._full not in places):
            places = self.arranged(width, height, self._gpus, self._full)
        return places or {"too_small": Place(0, 0, width, height)}

    def on_mount(self) -> None:
        """Colours; read as soon as the empty panels are seen: a long record would hold them up."""
        self.app.theme_changed_signal.subscribe(self, lambda _theme: self._restyle())
        self._restyle()
        for panel in self._shown():
            panel.show(self.view)
        self.call_after_refresh(self._reader.start)

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
        for panel in self._shown():
            panel.restyle(colours)

    def _shown(self) -> list[Panel]:
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
        for panel in self._shown():
            if panel.display:
                panel.show(view)

    def _change(self, **changes: object) -> None:
        self._newest = replace(self._newest, **changes)
        self.view = self._newest if not self._newest.paused else replace(self.view, **changes)

    # Keys.

    def action_leave(self) -> None:
        """Leave."""
        raise NotImplementedError

    def action_pause_view(self) -> None:
        """Hold the view, or let it go on."""
        paused = not self._newest.paused
        self._newest = replace(self._newest, paused=paused)
        self.view = replace(self.view, paused=True) if paused else self._newest

    def action_zoom(self, step: int) -> None:
        """Charts over a shorter (+1) or longer (−1) time."""
        self._change(zoom=max(0, min(len(ZOOMS) - 1, self._newest.zoom + step)))
        if not any(panel.display and panel.has_axes for panel in self._shown()):
            self._reveal(self.CHART)

    def action_next_panel(self, step: int) -> None:
        """Go to the panel after (+1) or before (−1) this one. Those that have no place come last, full screen."""
        placed = self._placed()
        if not placed:
            return
        panels = [panel for panel in self._shown() if panel.can_focus]
        names = [panel.id for panel in panels if panel.id in placed]
        names += [panel.id for panel in panels if panel.id not in placed and not panel.DIGEST]
        now = self.focused.id if self.focused is not None else None
        place = names.index(now) + step if now in names else min(step, 0)
        self._reveal(names[place % len(names)] or "", held=self._held)

    def action_full_screen(self) -> None:
        """The focused panel takes the whole body, or goes back to its place."""
        panel = self.focused
        if self._in_full:
            self._full, self._held = "", False
            self._rearrange()
        elif isinstance(panel, Panel) and panel.id and panel.display:
            self._reveal(panel.id, held=True)
        else:
            self.notify("choose a panel first: tab, or a click on it", markup=False)

    def _reveal(self, name: str, held: bool = False) -> None:
        """Choose the panel `name`; without a place, or `held`, it gets the whole body."""
        self._full, self._held = name if held or name not in self._placed() else "", held
        self._rearrange()
        self.query_one(f"#{name}", Panel).focus()

    @property
    def _in_full(self) -> bool:
        """A panel has the whole body."""
        return bool(self._full) and (self._held or self._full not in self._placed())

    def _placed(self) -> Mapping[str, Place]:
        """The places while no panel has the whole body."""
        return self.arranged(*self.size, self._gpus, "")

    def _rearrange(self) -> None:
        self.query_one(Tiles).rearrange()
        self.call_after_refresh(self._show_all)

    def _show_all(self) -> None:
        for panel in self._shown():
            if panel.display:
                panel.show(self.view)

    def action_explain(self) -> None:
        """The help."""
        from gputrain.tui.screens.dashboard.help import HelpScreen  # of no use to the first paint

        panels = {panel.id for panel in self._shown() if panel.id}
        self.app.push_screen(HelpScreen(self.keys, panels, self.view.ascii))

    def action_export_view(self) -> None:
        """The screen as a picture."""
        from gputrain.tui.actions import export_screen  # of no use to the first paint

        export_screen.save_view(self.app.export_screenshot(), self.view.now, self._exported)

    def action_export_curves(self) -> None:
        """The curves as files."""
        from gputrain.tui.actions import export_screen

        export_screen.save_curves(self.view.now, self._exported)

    def _exported(self, text: str, failed: bool) -> None:
        # On the thread that wrote.
        self.post_message(ActionFinished(text, failed))

    def on_action_finished(self, message: ActionFinished) -> None:
        """Say it."""
        self.notify(message.text, severity="error" if message.failed else "information", markup=False)

    def action_back(self) -> None:
        """Out of a full-screen panel."""
        if self._in_full:
            self.action_full_screen()

    def on_click(self, event: Click) -> None:
        """A double click is full screen."""
        if event.chain == 2:
            self.action_full_screen()
