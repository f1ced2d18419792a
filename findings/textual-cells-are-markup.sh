#!/usr/bin/env bash
# Textual's DataTable takes cells as Rich markup: a parameter name in brackets disappears, a number in brackets stays.
set -euo pipefail
source "$(dirname "$0")/common.bash"

finding_venv textual==8.2.8
finding_python <<'PY'
import asyncio

from finding import report
from textual.app import App, ComposeResult
from textual.widgets import DataTable


class Table(App[None]):
    def compose(self) -> ComposeResult:
        yield DataTable()


async def shown() -> list[str]:
    app = Table()
    async with app.run_test(size=(40, 6)) as pilot:
        table = app.query_one(DataTable)
        table.add_columns("layer", "count")
        table.add_row("blocks[3]", "12")
        table.add_row("heads[head]", "3")
        await pilot.pause()
        lines = ["".join(segment.text for segment in strip).strip() for strip in app.screen._compositor.render_strips()]
    return [" ".join(line.split()) for line in lines[1:3]]


lines = asyncio.run(shown())
report("blocks[3] 12 and heads[head] 3", lines, lines == ["blocks[3] 12", "heads 3"])
PY
