"""The launcher's choices: the lists of profiles and recipes, the presets and the data folder."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Container
from textual.widgets import Input

from gputrain.tui.widgets.menu import Menu, PresetRow


class LauncherChoices(Container):
    """What is chosen in them can be read at any time; they tell of changes by their own messages."""

    def compose(self) -> ComposeResult:
        """The style sheet places them by the window's size."""
        yield Menu("Profile", id="profiles")
        with Container(id="side"):
            yield Menu("Recipe", id="recipes")
            yield PresetRow(id="presets")
            data = Input(placeholder="the recipe's own", id="data")
            data.border_title = "Data folder"
            yield data

    @property
    def profile(self) -> str:
        """Name of the chosen profile; empty while there is none."""
        return self.query_one("#profiles", Menu).chosen

    @property
    def recipe(self) -> str:
        """Name of the chosen recipe; empty while there is none."""
        return self.query_one("#recipes", Menu).chosen

    @property
    def data(self) -> str:
        """The data folder; empty: the recipe's own."""
        return self.query_one("#data", Input).value.strip()

    @data.setter
    def data(self, folder: str) -> None:
        self.query_one("#data", Input).value = folder

    def fill_profiles(self, rows: Sequence[tuple[str, Text]], first: str) -> None:
        """Show these (name and text); `first` is chosen unless another one is."""
        self.query_one("#profiles", Menu).fill(rows, self.profile or first)

    def fill_recipes(self, rows: Sequence[tuple[str, Text]], first: str) -> None:
        """The same for recipes."""
        self.query_one("#recipes", Menu).fill(rows, self.recipe or first)

    @property
    def presets(self) -> PresetRow:
        """The row of presets."""
        return self.query_one(PresetRow)
