"""The panels of the machine without a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar

from textual.binding import BindingType

from gputrain.engine.errors import EXIT_FINISHED
from gputrain.tui.arrangement import Place
from gputrain.tui.bindings import bindings
from gputrain.tui.keys import MONITOR_KEYS, Key
from gputrain.tui.monitorplaces import arrange_monitor
from gputrain.tui.reader import FRAME_SECONDS
from gputrain.tui.screens.board import BoardScreen
from gputrain.tui.source import EventSource
from gputrain.tui.widgets.compact import MachinePanel
from gputrain.tui.widgets.gpus import GpuPanel
from gputrain.tui.widgets.machine import CpuPanel, DiskPanel, RamPanel
from gputrain.tui.widgets.monitorstatus import MonitorStatusPanel
from gputrain.tui.widgets.panel import Panel
from gputrain.tui.widgets.processes import ProcessesPanel


class MonitorScreen(BoardScreen):
    """GPUs, processes, CPU, RAM and disks of this machine."""

    KEYS: ClassVar[tuple[Key, ...]] = MONITOR_KEYS
    BINDINGS: ClassVar[list[BindingType]] = bindings(MONITOR_KEYS)
    CHART: ClassVar[str] = "cpu"

    def __init__(self, source: EventSource, subject: str, about: str, frame_seconds: float = FRAME_SECONDS) -> None:
        """`subject`: the watched process, empty without one; `about`: interval and log, for the status line."""
        super().__init__(source, subject, frame_seconds)
        self._about = about

    def panels(self) -> Iterable[Panel]:
        """All panels; the arrangement chooses which are shown."""
        return (
            MonitorStatusPanel(self._about, id="status"),
            GpuPanel(id="gpu"),
            ProcessesPanel(id="processes"),
            CpuPanel(id="cpu"),
            RamPanel(id="ram"),
            DiskPanel(id="disk"),
            MachinePanel(id="machine"),
        )

    def arranged(self, width: int, height: int, gpus: int, full: str) -> Mapping[str, Place]:
        """Places by the window's size."""
        return arrange_monitor(width, height, gpus, full)

    def action_leave(self) -> None:
        """Nothing goes on without this screen."""
        self._reader.stop()
        self.app.exit(EXIT_FINISHED)
