"""The runs screen: watch, stop, resume, clone, compare, label, export and delete the runs of this user."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable

from textual.message import Message
from textual.widgets import DataTable

from gputrain.engine.common.errors import EXIT_FINISHED, BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.launching import launch
from gputrain.engine.runs.run_directory import RunDir
from gputrain.engine.runs.run_labels import read_marks
from gputrain.engine.user_script.script_command import has_command
from gputrain.tui.actions import run_actions
from gputrain.tui.actions.compare_runs import Compared
from gputrain.tui.actions.launcher_choices import EXPECTED_ERRORS, error_text
from gputrain.tui.screens.help_screen import HelpScreen
from gputrain.tui.screens.messages import ActionFinished
from gputrain.tui.screens.runs.run_table_screen import RunTableScreen
from gputrain.tui.screens.runs.runs_dialogs import ConfirmScreen, PromptScreen
from gputrain.tui.screens.runs.runs_keys import help_text

_SUFFIXES = "a file name ending in .csv, or with matplotlib in .png, .svg or .pdf"
_OVERRIDES = "settings to override: lr=0.05 epochs=20 (empty: none)"


class RunsScreen(RunTableScreen):
    """The list of runs with actions on the highlighted run, or on the selected ones."""

    class ComparisonReady(Message):
        """The runs to compare were read."""

        def __init__(self, compared: list[Compared]) -> None:
            super().__init__()
            self.compared = compared

    # Actions run on a thread and post their result.

    def _run_action(self, work: Callable[[], str | list[Compared]]) -> None:
        def attempt() -> None:
            try:
                result = work()
            except EXPECTED_ERRORS as error:
                self.post_message(ActionFinished(error_text(error), failed=True))
            else:
                if isinstance(result, str):
                    self.post_message(ActionFinished(result, failed=False))
                else:
                    self.post_message(self.ComparisonReady(result))

        self._show_message("working …")
        threading.Thread(target=attempt, name="action", daemon=True).start()

    def on_action_finished(self, message: ActionFinished) -> None:
        """Show the result, and read the runs again."""
        self._show_message(message.text, failed=message.failed)
        self._reload()

    def on_runs_screen_comparison_ready(self, message: ComparisonReady) -> None:
        """Open the comparison."""
        # Imported here: most visits of this screen compare nothing.
        from gputrain.tui.screens.runs.compare_screen import CompareScreen

        self._show_message("")
        self.app.push_screen(CompareScreen(message.compared))

    # Keys.

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        """Watch the run on Enter or a click."""
        self.action_attach()

    def action_attach(self) -> None:
        """Open the dashboard of the run; Escape or q there comes back."""
        if (run := self._current()) is not None:
            # Imported here: the list needs none of the panels.
            from gputrain.tui.screens.dashboard.dashboard_screen import DashboardScreen

            self.app.push_screen(DashboardScreen(launch.attach(run, outlined=True), inner=True))

    def action_stop(self) -> None:
        """Ask for confirmation, then stop the run after a checkpoint."""
        if (run := self._current()) is not None:
            script = has_command(run)
            question = f"Stop {run.id} by SIGINT, as Ctrl-C does?" if script else f"Stop {run.id} after a checkpoint?"
            self.app.push_screen(
                ConfirmScreen(question), lambda yes: self._run_action(lambda: run_actions.stop(run)) if yes else None
            )

    def action_resume(self) -> None:
        """Ask for checkpoint and settings, then continue the run; start the command of a script again."""
        if (run := self._current()) is not None and not self._ask_to_start(run, "in the same run", run_actions.resume):
            self._ask(
                f"Resume {run.id}",
                "from=last",
                "from=last, best or a step number, and settings to override: epochs=20",
                lambda text: run_actions.resume(run, text),
                about=run_actions.checkpoints_of(run),
            )

    def action_clone(self) -> None:
        """Ask for settings, then start a new run with those of this run."""
        if (run := self._current()) is not None and not self._ask_to_start(run, "as a new run", run_actions.clone):
            self._ask(f"Clone {run.id}", "", _OVERRIDES, lambda text: run_actions.clone(run, text))

    def _ask_to_start(self, run: RunDir, where: str, work: Callable[[RunDir, str], str]) -> bool:
        """Whether `run` is a script; then ask, and start its command again."""
        try:
            command = run_actions.command_of(run)
        except BadInput as error:
            self._show_message(error_text(error), failed=True)
            return True
        if command:
            self.app.push_screen(
                ConfirmScreen(f"Start again {where}: {plain(command, 300)}"),
                lambda yes: self._run_action(lambda: work(run, "")) if yes else None,
            )
        return bool(command)

    def action_mark(self, what: str) -> None:
        """Ask for the name, the tags or the note."""
        if (run := self._current()) is None:
            return
        marks = read_marks(run)
        value, change = {
            "name": (marks.name, run_actions.rename),
            "tags": (" ".join(marks.tags), run_actions.tag),
            "note": (marks.note, run_actions.note),
        }[what]
        self._ask(f"{what.capitalize()} of {run.id}", value, "", lambda text: change(run, text))

    def _ask(self, title: str, value: str, placeholder: str, work: Callable[[str], str], about: str = "") -> None:
        def submit(text: str | None) -> None:
            if text is not None:
                self._run_action(lambda: work(text.strip()))

        self.app.push_screen(PromptScreen(title, value, placeholder, about), submit)

    def action_compare(self) -> None:
        """Compare the selected runs."""
        targets = self._targets()
        if len(targets) < 2:
            self._show_message("select at least two runs with the space bar first")
            return
        self._run_action(lambda: run_actions.compare(targets))

    def action_delete(self) -> None:
        """Ask for confirmation, then delete the selected runs or the highlighted one."""
        targets = self._targets()
        if not targets:
            return
        what = targets[0].id if len(targets) == 1 else f"{len(targets)} runs"

        def confirm(yes: bool | None) -> None:
            if yes:
                self._selected.clear()
                self._run_action(lambda: run_actions.delete(targets))

        self.app.push_screen(ConfirmScreen(f"Delete {what} with all files?"), confirm)

    def action_export(self) -> None:
        """Ask for a file name, then write the curves."""
        if (run := self._current()) is not None:
            name = f"{re.sub(r'[^A-Za-z0-9._-]+', '-', run.id).strip('-.')[:80] or 'run'}.csv"
            self._ask(f"Export the curves of {run.id}", name, _SUFFIXES, lambda text: run_actions.export(run, text))

    def action_explain(self) -> None:
        """Show the help."""
        self.app.push_screen(HelpScreen(help_text(), self._ascii))

    def action_leave(self) -> None:
        """Go back to the launcher, or quit. Runs continue."""
        if len(self.app.screen_stack) > 1:
            self.dismiss(None)
        else:
            self.app.exit(EXIT_FINISHED)
