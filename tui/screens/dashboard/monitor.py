"""The monitor: the panels of the machine, without a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import ClassVar

from msgspec.structs import replace
from textual.binding import BindingType

from gputrain.engine.common.errors import EXIT_FINISHED
from gputrain.tui.layout.key_bindings import bindings
from gputrain.tui.layout.key_table import MONITOR_KEYS, Key
from gputrain.tui.layout.monitor_layout import arrange_monitor
from gputrain.tui.layout.panel_layout import Place
from gputrain.tui.screens.dashboard.panel_screen import PanelScreen
from gputrain.tui.state.event_source import EventSource
from gputrain.tui.state.reader_thread import FRAME_SECONDS
from gputrain.tui.widgets.panel import Panel
from gputrain.tui.widgets.panels.compact import MachinePanel
from gputrain.tui.widgets.panels.disks import DiskPanel
from gputrain.tui.widgets.panels.gpus import GpuPanel
from gputrain.tui.widgets.panels.machine_panels import CpuPanel, RamPanel
from gputrain.tui.widgets.panels.monitor_status import MonitorStatusPanel
from gputrain.tui.widgets.panels.processes import ProcessesPanel

INTERVALS = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
"""Seconds between samples, as the keys < and > change them."""


class MonitorScreen(PanelScreen):
    """GPUs, processes, CPU, RAM and disks of this machine."""

    KEYS: ClassVar[tuple[Key, ...]] = MONITOR_KEYS
    BINDINGS: ClassVar[list[BindingType]] = bindings(MONITOR_KEYS)
    CHART: ClassVar[str] = "cpu"

    def __init__(
        self,
        source: EventSource,
        subject: str,
        interval: float,
        set_interval: Callable[[float], None],
        about: str = "",
        frame_seconds: float = FRAME_SECONDS,
    ) -> None:
        """`subject`: the watched process, or empty; `about`: text after the interval in the status line (the log)."""
        super().__init__(source, subject, frame_seconds)
        self._about = about
        self._set_interval = set_interval
        self._newest = replace(self._newest, interval=interval)
        self.set_reactive(PanelScreen.view, self._newest)

    def panels(self) -> Iterable[Panel]:
        """All panels; the layout decides which of them are visible."""
        return (
            MonitorStatusPanel(self._about, id="status"),
            GpuPanel(id="gpu"),
            ProcessesPanel(searched=True, id="processes"),
            CpuPanel(id="cpu"),
            RamPanel(id="ram"),
            DiskPanel(id="disk"),
            MachinePanel(id="machine"),
        )

    def arranged(self, width: int, height: int, gpus: int, full: str) -> Mapping[str, Place]:
        """Places of the panels in a window of this size."""
        return arrange_monitor(width, height, gpus, full)

    def action_sort(self) -> None:
        """Switch the order of processes between memory and CPU."""
        self._change(by_memory=not self._newest.by_memory)

    def action_interval(self, step: int) -> None:
        """Sample more often (−1) or less often (+1)."""
        now = self._newest.interval
        further = [one for one in INTERVALS if (one > now if step > 0 else one < now)]
        if further:
            interval = further[0] if step > 0 else further[-1]
            self._set_interval(interval)
            self._change(interval=interval)

    def action_search(self) -> None:
        """Ask for a text; the list then shows only processes that contain it."""
        from gputrain.tui.screens.dashboard.search_line import (
            SearchScreen,  # imported here: the first paint does not need it
        )

        self.app.push_screen(SearchScreen(self._newest.search, "processes"), self._on_search)

    def _on_search(self, text: str | None) -> None:
        if text is not None:
            self._change(search=text)

    def action_back(self) -> None:
        """Leave full screen, else the search."""
        if self._full or not self._newest.search:
            super().action_back()
        else:
            self._change(search="")

    def action_leave(self) -> None:
        """Quit the monitor."""
        self._reader.stop()
        self.app.exit(EXIT_FINISHED)
