"""What is chosen in the launcher, of what there is to choose from. No screen here."""

from __future__ import annotations

from typing import Any

from gputrain.engine.hardware.machine import Machine
from gputrain.profiles.catalog import Entry, Match
from gputrain.tui.actions.launcher_choices import Choice

FIRST_RECIPE = "demo"
"""Chosen at first: it runs everywhere, without data."""


class Selection:
    """Changes with each choice; `choice` is what a plan is made for."""

    def __init__(self) -> None:
        self.machine: Machine | None = None
        """None until it has been looked at."""
        self.profiles: tuple[Match, ...] = ()
        """The best for the machine first."""
        self.recipes: tuple[Entry, ...] = ()
        self.overrides: dict[str, Any] = {}
        """Checked settings by name, the person's own."""
        self._presets: dict[str, str] = {}

    @property
    def first_recipe(self) -> str:
        """Name of the recipe to begin with; empty while there is none."""
        names = [entry.name for entry in self.recipes]
        return FIRST_RECIPE if FIRST_RECIPE in names else next(iter(names), "")

    @property
    def first_profile(self) -> str:
        """Name of the profile to begin with; empty while there is none."""
        return next((match.name for match in self.profiles), "")

    def profile(self, name: str) -> Match | None:
        """The profile called `name`."""
        return next((match for match in self.profiles if match.name == name), None)

    def preset(self, match: Match) -> str:
        """The preset that is chosen for a profile; each remembers its own."""
        return self._presets.get(match.name, match.default_preset)

    def take_preset(self, match: Match, name: str) -> None:
        """Choose it."""
        self._presets[match.name] = name

    def preset_beside(self, match: Match, step: int) -> str:
        """The preset `step` further on, around the end. The profile must have some."""
        return match.presets[(match.presets.index(self.preset(match)) + step) % len(match.presets)]

    def choice(self, profile: str, recipe: str, data: str) -> Choice | None:
        """What is chosen now; None until there is a recipe and a profile."""
        match = self.profile(profile)
        if match is None or not recipe:
            return None
        return Choice(
            recipe=recipe,
            # Left to the machine unless somebody chose otherwise, so that the origins say so.
            profile="" if match is self.profiles[0] else match.name,
            preset=self._presets.get(match.name, ""),
            data=data,
            overrides=tuple(self.overrides.items()),
        )
