"""The left side of the launcher: profiles, recipes, presets and data folder."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Container
from textual.widgets import Input

from gputrain.tui.widgets.menu import Menu, PresetRow


class LauncherChoices(Container):
    """Holds the choice widgets, which post their own messages on changes."""

    def compose(self) -> ComposeResult:
        """Compose the widgets; the style sheet places them."""
        yield Menu("Profile", id="profiles")
        with Container(id="side"):
            yield Menu("Recipe", id="recipes")
            yield PresetRow(id="presets")
            data = Input(placeholder="from the recipe", id="data")
            data.border_title = "Data folder"
            yield data

    @property
    def profile(self) -> str:
        """Name of the chosen profile; empty if none."""
        return self.query_one("#profiles", Menu).chosen

    @property
    def recipe(self) -> str:
        """Name of the chosen recipe; empty if none."""
        return self.query_one("#recipes", Menu).chosen

    @property
    def data(self) -> str:
        """The data folder; empty for that of the recipe."""
        return self.query_one("#data", Input).value.strip()

    @data.setter
    def data(self, folder: str) -> None:
        self.query_one("#data", Input).value = folder

    def fill_profiles(self, rows: Sequence[tuple[str, Text]], first: str) -> None:
        """Show `rows` (name and text); choose `first` unless something is already chosen."""
        self.query_one("#profiles", Menu).fill(rows, self.profile or first)

    def fill_recipes(self, rows: Sequence[tuple[str, Text]], first: str) -> None:
        """Show the recipes, as `fill_profiles` does."""
        self.query_one("#recipes", Menu).fill(rows, self.recipe or first)

    @property
    def presets(self) -> PresetRow:
        """The row of presets."""
        return self.query_one(PresetRow)
