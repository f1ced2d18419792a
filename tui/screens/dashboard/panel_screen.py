"""Base of dashboard and monitor: a screen of panels that a reader thread updates."""

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
from gputrain.tui.layout.key_bindings import Key
from gputrain.tui.layout.panel_layout import Place
from gputrain.tui.render.charset import wants_ascii
from gputrain.tui.render.theme import palette
from gputrain.tui.screens.messages import ActionFinished, FrameReady, ReaderFailed
from gputrain.tui.state.event_source import EventSource
from gputrain.tui.state.reader_thread import Frame, Reader
from gputrain.tui.terminal.output_filter import SpanCompositor
from gputrain.tui.widgets.key_bar import KeyBar
from gputrain.tui.widgets.panel import Panel, View
from gputrain.tui.widgets.panels.nodes.node_gpus import with_gpus
from gputrain.tui.widgets.tiles import Tiles
from gputrain.tui.widgets.too_small_panel import TooSmallPanel


class PanelScreen(Screen[None]):
    """Shows one frame at a time. A thread reads the events, so the screen never blocks.

    Subclasses define keys, panels and the layout.
    """

    AUTO_FOCUS = ""
    KEYS: ClassVar[tuple[Key, ...]] = ()
    """Keys for the key bar and the help."""
    CHART: ClassVar[str] = ""
    """The panel to open on zoom if no chart is visible."""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+c", "leave", "quit", show=False, priority=True),
        Binding("shift+tab", "next_panel(-1)", show=False),
        Binding("escape", "back", "back", show=False),
    ]

    view: reactive[View] = reactive(View(), init=False, repaint=False)

    def __init__(self, source: EventSource, subject: str, frame_seconds: float) -> None:
        """`subject`: as in `View.subject`; `frame_seconds`: shortest time between two frames."""
        super().__init__()
        self._compositor = SpanCompositor()
        self._reader = Reader(source, self._post_frame, self._post_failure, frame_seconds)
        self._newest = View(ascii=wants_ascii(), subject=subject)
        self._full = ""
        """The panel in full screen; empty if none."""
        self._keep_full = False
        """Whether it stays in full screen although the layout has a place for it."""
        self._gpus = 0
        self._key_bar: KeyBar
        self._all: tuple[Panel, ...] = ()
        """All panels, whether they are visible or not."""
        self.set_reactive(PanelScreen.view, self._newest)

    @property
    def keys(self) -> Sequence[Key]:
        """The keys of this screen."""
        return self.KEYS

    @property
    def live_run(self) -> str:
        """Id of the live run that the screen shows; empty if none."""
        return ""

    def panels(self) -> Iterable[Panel]:
        """All panels; the layout decides which of them are visible."""
        raise NotImplementedError

    def arranged(self, width: int, height: int, gpus: int, full: str) -> Mapping[str, Place]:
        """Places of the panels by id; empty if the window is too small."""
        raise NotImplementedError

    def compose(self) -> ComposeResult:
        """Compose the panels, the key bar, and the text for windows that are too small."""
        self._key_bar = KeyBar(self.keys, id="keys")
        self._all = (*self.panels(), TooSmallPanel(id="too_small"), self._key_bar)
        yield Tiles(*self._all, arrange=self._places)

    def _places(self, width: int, height: int) -> Mapping[str, Place]:
        places = self.arranged(width, height, self._gpus, "")
        if places and self._full and (self._keep_full or self._full not in places):
            places = self.arranged(width, height, self._gpus, self._full)
        return places or {"too_small": Place(0, 0, width, height)}

    def on_mount(self) -> None:
        """Apply the colors; start reading after the first paint, because a long record takes time."""
        self.app.theme_changed_signal.subscribe(self, lambda _theme: self._restyle())
        self._restyle()
        for panel in self._all:
            panel.show(self.view)
        self.call_after_refresh(self._reader.start)

    def on_unmount(self, _event: Unmount) -> None:
        """Stop the reader."""
        self._reader.stop()

    def _post_frame(self, frame: Frame) -> None:
        # Called on the reader's thread. After the screen closed, the message is dropped.
        self.post_message(FrameReady(frame))

    def _post_failure(self, error: Exception) -> None:
        self.post_message(ReaderFailed(error))

    def on_reader_failed(self, message: ReaderFailed) -> None:
        """Raise the error, so that the screen closes and shows it instead of freezing. The run continues."""
        raise message.error

    def _restyle(self) -> None:
        background = self.styles.background.rich_color
        colors = palette(self.app.current_theme, background, mono=self.app.no_color)
        for panel in self._all:
            panel.restyle(colors)

    # From the reader to the panels.

    def on_frame_ready(self, message: FrameReady) -> None:
        """Take the frame; a paused view does not change."""
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
        """Show the view in all visible panels."""
        gpus = len(view.now.hardware.gpus) if view.now.hardware else 0
        # The machines with GPUs of a run on several: one row each.
        gpus += len(with_gpus(view.now))
        if gpus != self._gpus:
            self._gpus = gpus
            self.query_one(Tiles).rearrange()
        for panel in self._all:
            if panel.display:
                panel.show(view)

    def _change(self, **changes: object) -> None:
        self._newest = replace(self._newest, **changes)
        self.view = self._newest if not self._newest.paused else replace(self.view, **changes)

    # Keys.

    def action_leave(self) -> None:
        """Close the screen."""
        raise NotImplementedError

    def action_pause_view(self) -> None:
        """Pause or continue the view."""
        paused = not self._newest.paused
        self._newest = replace(self._newest, paused=paused)
        self.view = replace(self.view, paused=True) if paused else self._newest

    def action_zoom(self, step: int) -> None:
        """Show a shorter (+1) or longer (−1) time in the charts."""
        self._change(zoom=max(0, min(len(ZOOMS) - 1, self._newest.zoom + step)))
        if not any(panel.display and panel.has_axes for panel in self._all):
            self._reveal(self.CHART)

    def action_next_panel(self, step: int) -> None:
        """Focus the next (+1) or previous (−1) panel. Panels without a place come last and open in full screen."""
        placed = self._placed()
        if not placed:
            return
        panels = [panel for panel in self._all if panel.can_focus]
        names = [panel.id for panel in panels if panel.id in placed]
        names += [panel.id for panel in panels if panel.id not in placed and not panel.DIGEST]
        now = self.focused.id if self.focused is not None else None
        place = names.index(now) + step if now in names else min(step, 0)
        self._reveal(names[place % len(names)] or "", keep_full=self._keep_full)

    def action_full_screen(self) -> None:
        """Show the focused panel in full screen, or leave full screen."""
        panel = self.focused
        if self._in_full:
            self._full, self._keep_full = "", False
            self._rearrange()
        elif isinstance(panel, Panel) and panel.id and panel.display:
            self._reveal(panel.id, keep_full=True)
        else:
            self.notify("select a panel first: tab, or click on it", markup=False)

    def _reveal(self, name: str, keep_full: bool = False) -> None:
        """Focus the panel `name`, in full screen if it has no place or with `keep_full`."""
        self._full, self._keep_full = name if keep_full or name not in self._placed() else "", keep_full
        self._rearrange()
        self.query_one(f"#{name}", Panel).focus()

    @property
    def _in_full(self) -> bool:
        """Whether a panel is in full screen."""
        return bool(self._full) and (self._keep_full or self._full not in self._placed())

    def _placed(self) -> Mapping[str, Place]:
        """The places without full screen."""
        return self.arranged(*self.size, self._gpus, "")

    def _rearrange(self) -> None:
        self.query_one(Tiles).rearrange()
        self.call_after_refresh(self._show_all)

    def _show_all(self) -> None:
        for panel in self._all:
            if panel.display:
                panel.show(self.view)

    def action_explain(self) -> None:
        """Show the help."""
        # Imported here, because the first paint does not need them.
        from gputrain.tui.screens.dashboard.panel_help import help_text
        from gputrain.tui.screens.help_screen import HelpScreen

        panels = {panel.id for panel in self._all if panel.id}
        self.app.push_screen(HelpScreen(help_text(self.keys, panels), self.view.ascii))

    def action_export_view(self) -> None:
        """Write the screen as SVG."""
        from gputrain.tui.actions import export_screen  # imported here: the first paint does not need it

        export_screen.save_view(self.app.export_screenshot(), self.view.now, self._exported)

    def action_export_curves(self) -> None:
        """Write the curves as files."""
        from gputrain.tui.actions import export_screen

        export_screen.save_curves(self.view.now, self._exported)

    def _exported(self, text: str, failed: bool) -> None:
        # Called on the thread that wrote the file.
        self.post_message(ActionFinished(text, failed))

    def on_action_finished(self, message: ActionFinished) -> None:
        """Notify the user."""
        self.notify(message.text, severity="error" if message.failed else "information", markup=False)

    def action_back(self) -> None:
        """Leave full screen."""
        if self._in_full:
            self.action_full_screen()

    def on_click(self, event: Click) -> None:
        """Toggle full screen on a double click."""
        if event.chain == 2:
            self.action_full_screen()
