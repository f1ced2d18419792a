"""The list and preset widgets of the launcher. The highlighted row is the choice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from rich.cells import cell_len
from rich.style import Style
from rich.text import Text
from textual.binding import Binding, BindingType
from textual.events import Click
from textual.message import Message
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from gputrain.tui.render.ascii_replacements import to_ascii
from gputrain.tui.render.styled_lines import Line
from gputrain.tui.render.theme import Palette


def as_text(lines: Iterable[Line], palette: Palette, ascii_only: bool) -> Text:
    """`lines` as Rich text with the foreground colors of `palette`; the widget sets the background."""
    text = Text(no_wrap=True, overflow="ellipsis", end="")
    for number, spans in enumerate(lines):
        text.append("\n" if number else "")
        for part, role in spans:
            style = palette.get(role, Style())
            ink = Style(color=style.color, bold=style.bold, dim=style.dim, reverse=style.reverse)
            text.append(to_ascii(part) if ascii_only else part, ink)
    return text


class Menu(OptionList, inherit_bindings=False):
    """A list whose highlighted row is the choice. The screen handles Enter."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "cursor_up", "up", show=False),
        Binding("down,j", "cursor_down", "down", show=False),
        Binding("home", "first", "first", show=False),
        Binding("end", "last", "last", show=False),
        Binding("pageup", "page_up", "page up", show=False),
        Binding("pagedown", "page_down", "page down", show=False),
    ]

    class Chosen(Message):
        """Another row was highlighted."""

        def __init__(self, menu: Menu, name: str) -> None:
            super().__init__()
            self.menu = menu
            self.name = name

    def __init__(self, title: str, *, id: str) -> None:  # noqa: A002 - Textual's name for it
        super().__init__(id=id, markup=False)
        self.border_title = title
        self._names: tuple[str, ...] = ()

    @property
    def chosen(self) -> str:
        """Name of the chosen row; empty if none."""
        return self._names[self.highlighted] if self._names and self.highlighted is not None else ""

    def fill(self, rows: Sequence[tuple[str, Text]], choose: str) -> None:
        """Show `rows` (name and text) and choose the row named `choose`."""
        self._names = ()
        self.clear_options()
        self.add_options([Option(text) for _, text in rows])
        self._names = tuple(name for name, _ in rows)
        if choose in self._names:
            self.highlighted = self._names.index(choose)
        self._show_choice()

    def on_resize(self) -> None:
        """Scroll to the chosen row."""
        self._show_choice()

    def _show_choice(self) -> None:
        # The position of a row is known only after the layout.
        self.call_after_refresh(self.scroll_to_highlight)

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        """Post `Chosen`, unless the list changed since this event."""
        event.stop()
        if self.chosen and event.option_index == self.highlighted:
            self.post_message(self.Chosen(self, self.chosen))

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Stop the event: a click already highlighted the row."""
        event.stop()


class PresetRow(Static):
    """The presets of a profile in one row. A click chooses one; the screen handles keys."""

    class Picked(Message):
        """A preset was clicked."""

        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

    def __init__(self, *, id: str) -> None:  # noqa: A002 - Textual's name for it
        super().__init__(id=id, markup=False)
        self.border_title = "Preset"
        self._names: tuple[str, ...] = ()
        self._chosen = ""
        self._palette: Palette = {}
        self._ascii = False

    def show(self, names: tuple[str, ...], chosen: str, palette: Palette, ascii_only: bool) -> None:
        """Show `names` and mark `chosen`."""
        self._names, self._chosen, self._palette, self._ascii = names, chosen, palette, ascii_only
        self._draw()

    def on_resize(self) -> None:
        """Redraw for the new width."""
        self._draw()

    def spans(self, columns: int) -> list[tuple[str, str]]:
        """Texts from left to right, each with the preset that a click on it chooses.

        If not all names fit, only the chosen one is shown between arrows.
        """
        if not self._names:
            return []
        every = [(f" ● {name} " if name == self._chosen else f"   {name} ", name) for name in self._names]
        if sum(cell_len(text) for text, _ in every) <= columns:
            return every
        at = self._names.index(self._chosen)
        before, after = self._names[at - 1], self._names[(at + 1) % len(self._names)]
        return [
            (" ◂ ", before),
            (f"● {self._chosen}", self._chosen),
            (f"  {at + 1} of {len(self._names)}", self._chosen),
            (" ▸ ", after),
        ]

    def _draw(self) -> None:
        drawn: Line = tuple(
            (text, "bright" if name == self._chosen else "text") for text, name in self.spans(self.content_size.width)
        )
        self.update(as_text([drawn], self._palette, self._ascii))

    def on_click(self, event: Click) -> None:
        """Choose the clicked preset."""
        inside = event.get_content_offset(self)
        end = 0
        for text, name in self.spans(self.content_size.width):
            end += cell_len(text)
            if inside is not None and inside.x < end:
                self.post_message(self.Picked(name))
                return
