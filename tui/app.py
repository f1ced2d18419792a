"""The Textual application: one screen on a run, the launcher that starts one, or the monitor."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar

from rich.console import RenderableType
from textual.app import App, SystemCommand
from textual.binding import BindingType
from textual.screen import Screen
from textual.scrollbar import ScrollBar, ScrollBarRender

from gputrain.tui.render.charset import wants_ascii
from gputrain.tui.render.theme import NIGHT, TERMINAL, THEMES
from gputrain.tui.screens.dashboard.panel_screen import PanelScreen
from gputrain.tui.screens.messages import DashboardClosed
from gputrain.tui.screens.quit_result import QuitResult
from gputrain.tui.state.event_source import RunSource
from gputrain.tui.state.reader_thread import FRAME_SECONDS, LOW_BANDWIDTH_FRAME_SECONDS
from gputrain.tui.terminal import gc_pause, hangup
from gputrain.tui.terminal.output_filter import only_changes


class _AsciiScrollBar(ScrollBarRender):
    """A scroll bar without the eighths of blocks at its ends."""

    VERTICAL_BARS: ClassVar[list[str]] = [" "] * 8
    HORIZONTAL_BARS: ClassVar[list[str]] = [" "] * 8


class GpuTrainApp(App[int]):
    """Started on a run, on a screen of `first`'s making, or on the launcher.

    `run` returns the exit code; `quit_result` tells more.
    """

    TITLE = "gputrain-tui"
    BINDINGS: ClassVar[list[BindingType]] = []

    def __init__(
        self,
        source: RunSource | None = None,
        first: Callable[[], Screen[Any]] | None = None,
        low_bandwidth: bool = False,
    ) -> None:
        """`low_bandwidth`: send few bytes to the terminal, by its own colours and views that change seldom."""
        # Textual turns colours into greys for NO_COLOR and still sends them; with the terminal's
        # own colours it sends none at all.
        colourless = "NO_COLOR" in os.environ
        # The launcher's styles would take a tenth of a dashboard's start.
        names = ["app.tcss"] if source is not None or first is not None else ["app.tcss", "launcher.tcss"]
        super().__init__(
            css_path=[Path(__file__).with_name(name) for name in names],
            ansi_color=True if colourless or low_bandwidth else None,
        )
        self.set_class(wants_ascii(), "-ascii")
        ScrollBar.renderer = _AsciiScrollBar if wants_ascii() else ScrollBarRender
        self._source, self._first = source, first
        self.quit_result: QuitResult | None = None
        """How the person left a run; None if they left none."""
        for theme in THEMES:
            self.register_theme(theme)
        self._frame_seconds = LOW_BANDWIDTH_FRAME_SECONDS if low_bandwidth else FRAME_SECONDS
        self.theme = TERMINAL.name if colourless or low_bandwidth else NIGHT.name

    def on_mount(self) -> None:
        """Look after the terminal; a browser's connection ends by other means, and a test has none."""
        if os.isatty(0) and not (self.is_web or self.is_headless):
            self.set_interval(hangup.POLL_SECONDS, hangup.end_if_gone)

    def on_ready(self) -> None:
        """The first layout was painted."""
        gc_pause.resume_gc()

    def get_default_screen(self) -> Screen[Any]:
        """The dashboard, the screen that was asked for, or the launcher."""
        if self._first is not None:
            return self._first()
        if self._source is not None:
            from gputrain.tui.screens.dashboard.dashboard import (
                DashboardScreen,  # its dialogs are of no use to the monitor
            )

            return DashboardScreen(self._source, self._frame_seconds)
        from gputrain.tui.screens.launcher.launcher import (
            LauncherScreen,  # profiles and plan are of no use to a dashboard
        )

        return LauncherScreen()

    def _display(self, screen: Screen[Any], renderable: RenderableType | None) -> None:
        super()._display(screen, only_changes(renderable))

    def export_screenshot(self, *, title: str | None = None, simplify: bool = False) -> str:
        """The screen as an SVG that looks alike in every viewer."""
        from gputrain.tui.render.svg_picture import portable  # of no use to the first paint

        return portable(super().export_screenshot(title=title, simplify=simplify))

    def on_dashboard_closed(self, message: DashboardClosed) -> None:
        """The person left the run: for the screen below it, or for good."""
        if message.inner:
            self.pop_screen()
            return
        self.quit_result = message.quit_result
        self.exit(message.quit_result.exit_code)

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """The palette: the dashboard's keys by name, and Textual's own commands for themes and screenshots."""
        if isinstance(screen, PanelScreen):
            for key in screen.keys:
                if not key.action.startswith("app."):
                    yield SystemCommand(key.label.capitalize(), key.help, lambda a=key.action: screen.run_action(a))
        for command in super().get_system_commands(screen):
            if command.title in ("Theme", "Screenshot"):
                yield command
