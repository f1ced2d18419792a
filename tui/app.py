"""The Textual application. It opens the dashboard of a run, the launcher, or another given screen."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar

from rich.console import RenderableType
from textual import constants
from textual.app import App, SystemCommand
from textual.binding import BindingType
from textual.driver import Driver
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
from gputrain.tui.terminal.driver import TerminalDriver
from gputrain.tui.terminal.output_filter import only_changes
from gputrain.tui.terminal.screen_signals import ScreenSignals


class _AsciiScrollBar(ScrollBarRender):
    """A scroll bar that draws only ASCII characters."""

    VERTICAL_BARS: ClassVar[list[str]] = [" "] * 8
    HORIZONTAL_BARS: ClassVar[list[str]] = [" "] * 8


class GpuTrainApp(App[int]):
    """Opens the dashboard on `source`, the screen that `first` creates, or the launcher.

    `run` returns the exit code. `quit_result` describes how the user left a run.
    """

    TITLE = "gputrain-tui"
    BINDINGS: ClassVar[list[BindingType]] = []

    def __init__(
        self,
        source: RunSource | None = None,
        first: Callable[[], Screen[Any]] | None = None,
        low_bandwidth: bool = False,
    ) -> None:
        """`low_bandwidth`: use the terminal's own colors and fewer updates, to send fewer bytes."""
        # For NO_COLOR Textual converts colors to greys and still sends them. With the terminal's own
        # colors it sends none.
        colorless = "NO_COLOR" in os.environ
        # Parsing the styles of the launcher would add a tenth to the start of a dashboard.
        names = ["app.tcss"] if source is not None or first is not None else ["app.tcss", "launcher.tcss"]
        super().__init__(
            css_path=[Path(__file__).with_name(name) for name in names],
            ansi_color=True if colorless or low_bandwidth else None,
        )
        self._painted = False
        self.set_class(wants_ascii(), "-ascii")
        ScrollBar.renderer = _AsciiScrollBar if wants_ascii() else ScrollBarRender
        self._source, self._first = source, first
        self.quit_result: QuitResult | None = None
        """How the user left a run; None if no run was left."""
        self.shown_run = ""
        """After a crash or a signal: id of the live run whose dashboard was open; empty without one."""
        self.signals: ScreenSignals | None = None
        """Signals that close the application; None: their default actions hold."""
        for theme in THEMES:
            self.register_theme(theme)
        self._frame_seconds = LOW_BANDWIDTH_FRAME_SECONDS if low_bandwidth else FRAME_SECONDS
        self.theme = TERMINAL.name if colorless or low_bandwidth else NIGHT.name

    def get_driver_class(self) -> type[Driver]:
        """The driver named in the environment, as for a browser, or our own for terminals."""
        return super().get_driver_class() if constants.DRIVER is not None else TerminalDriver

    def on_load(self) -> None:
        """Let signals close the application, from before the terminal is changed."""
        if self.signals is not None:
            self.signals.when_running(asyncio.get_running_loop(), self._close_by_signal)

    def _close_by_signal(self) -> None:
        self._remember_shown_run()
        self.exit()

    def on_mount(self) -> None:
        """Watch for a hang-up of the terminal; not in a browser or in a test, which have no terminal."""
        if os.isatty(0) and not (self.is_web or self.is_headless):
            self.set_interval(hangup.POLL_SECONDS, hangup.end_if_gone)

    def on_resize(self) -> None:
        """Repaint everything after a resize.

        Terminals clear or move cells when their size changes. Textual paints nothing if the size is soon as before.
        """
        if self._painted:
            self.call_after_refresh(self._repaint)

    def _repaint(self) -> None:
        self.screen.refresh()

    def on_ready(self) -> None:
        """Resume garbage collection after the first paint."""
        gc_pause.resume_gc()
        self._painted = True

    def get_default_screen(self) -> Screen[Any]:
        """The dashboard, the screen of `first`, or the launcher."""
        if self._first is not None:
            return self._first()
        if self._source is not None:
            from gputrain.tui.screens.dashboard.dashboard_screen import DashboardScreen

            return DashboardScreen(self._source, self._frame_seconds)
        from gputrain.tui.screens.launcher.launcher_screen import LauncherScreen

        return LauncherScreen()

    def _display(self, screen: Screen[Any], renderable: RenderableType | None) -> None:
        super()._display(screen, only_changes(renderable))

    def export_screenshot(self, *, title: str | None = None, simplify: bool = False) -> str:
        """The screen as an SVG that renders the same in every viewer."""
        from gputrain.tui.render.svg_picture import portable  # imported here: the first paint does not need it

        return portable(super().export_screenshot(title=title, simplify=simplify))

    def on_dashboard_closed(self, message: DashboardClosed) -> None:
        """Return to the screen below the dashboard, or exit."""
        if message.inner:
            self.pop_screen()
            return
        self.quit_result = message.quit_result
        self.exit(message.quit_result.exit_code)

    def panic(self, *renderables: RenderableType) -> None:
        """Exit with an error. Textual prints `renderables` after the screen closed."""
        self._remember_shown_run()
        super().panic(*renderables)

    def _fatal_error(self) -> None:
        self._remember_shown_run()
        super()._fatal_error()

    def _remember_shown_run(self) -> None:
        self.shown_run = next((s.live_run for s in reversed(self._screen_stack) if isinstance(s, PanelScreen)), "")

    def _show_alerts(self) -> None:
        from gputrain.tui.screens.launcher.alerts_dialog import AlertsScreen

        self.push_screen(AlertsScreen())

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """The command palette: the keys of the screen by name, and Textual's commands for themes and screenshots."""
        if isinstance(screen, PanelScreen):
            for key in screen.keys:
                if not key.action.startswith("app."):
                    yield SystemCommand(key.label.capitalize(), key.help, lambda a=key.action: screen.run_action(a))
        yield SystemCommand("Alerts", "Show where alerts go, and send a test to every target", self._show_alerts)
        for command in super().get_system_commands(screen):
            if command.title in ("Theme", "Screenshot"):
                yield command
