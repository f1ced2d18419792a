"""``gputrain-tui export RUN FILE``: writes curves as CSV or image, the dashboard as SVG, the model as ONNX."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from gputrain.engine.common.errors import EXIT_FINISHED, BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.launching import launch
from gputrain.engine.runs import run_directory
from gputrain.engine.runs.run_directory import RunDir
from gputrain.tui.actions.export_curves import write_curves
from gputrain.tui.actions.write_output import write_output
from gputrain.tui.commands.runs.export_onnx import export_network
from gputrain.tui.state import read_record


def run(options: argparse.Namespace) -> int:
    """Write the file and print its name. Raises BadInput if it cannot be written."""
    target, path = run_directory.find(options.run), Path(options.file)
    if path.suffix.lower() == ".onnx":
        return export_network(target, path, options.wanted, int8=options.int8)
    if options.int8:
        raise BadInput(f"{path}: --int8 needs an .onnx file")
    if options.view is None:
        write_curves(read_record.read_snapshot(target), path)
    else:
        if path.suffix.lower() != ".svg":
            raise BadInput(f"{path}: --view needs an .svg file")
        picture = asyncio.run(_view(target, options.view))
        write_output(path, picture.encode())
    print(plain(str(path)))
    return EXIT_FINISHED


async def _view(target: RunDir, size: tuple[int, int]) -> str:
    """The dashboard as SVG, as in a terminal of `size`."""
    from gputrain.tui.app import GpuTrainApp
    from gputrain.tui.screens.dashboard.dashboard import DashboardScreen

    app = GpuTrainApp(launch.attach(target, outlined=True))
    async with app.run_test(size=size) as pilot:
        screen = app.screen_stack[0]
        assert isinstance(screen, DashboardScreen)
        while not screen.view.caught_up:
            await pilot.pause(0.02)
        # The summary of an ended run would cover the panels.
        while app.screen is not screen:
            app.pop_screen()
            await pilot.pause()
        await pilot.pause()
        return app.export_screenshot(title=f"gputrain-tui {target.id}")
