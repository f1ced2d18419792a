"""The state of the launcher's choices: what can be chosen and what is chosen."""

from __future__ import annotations

from typing import Any

from gputrain.engine.hardware.machine import Machine
from gputrain.profiles.catalog import Entry, Match
from gputrain.tui.actions.launcher_choices import Choice

OWN_COMMAND = "/own-command"
"""Stands in the list of recipes for a command of the user's own. No file can have this name."""
FIRST_RECIPE = "demo"
"""The recipe selected at start: it runs on every machine, without data."""


class Selection:
    """Holds the choices; `choice` returns what to plan for."""

    def __init__(self) -> None:
        self.machine: Machine | None = None
        """None until it was inspected."""
        self.profiles: tuple[Match, ...] = ()
        """Best match for the machine first."""
        self.recipes: tuple[Entry, ...] = ()
        self.overrides: dict[str, Any] = {}
        """Validated settings by name, as the user changed them."""
        self._presets: dict[str, str] = {}

    @property
    def first_recipe(self) -> str:
        """Name of the recipe selected at start; empty while none is known."""
        names = [entry.name for entry in self.recipes]
        return FIRST_RECIPE if FIRST_RECIPE in names else next(iter(names), "")

    @property
    def first_profile(self) -> str:
        """Name of the profile selected at start; empty while none is known."""
        return next((match.name for match in self.profiles), "")

    def profile(self, name: str) -> Match | None:
        """The profile called `name`."""
        return next((match for match in self.profiles if match.name == name), None)

    def preset(self, match: Match) -> str:
        """The preset chosen for a profile. Each profile remembers its preset."""
        return self._presets.get(match.name, match.default_preset)

    def take_preset(self, match: Match, name: str) -> None:
        """Choose the preset `name` for the profile."""
        self._presets[match.name] = name

    def preset_beside(self, match: Match, step: int) -> str:
        """The preset `step` positions after the chosen one, with wrap-around. The profile must have presets."""
        return match.presets[(match.presets.index(self.preset(match)) + step) % len(match.presets)]

    def choice(self, profile: str, recipe: str, data: str) -> Choice | None:
        """The current choice; None until there is a recipe and a profile, and for a command of the user's own."""
        match = self.profile(profile)
        if match is None or recipe in ("", OWN_COMMAND):
            return None
        return Choice(
            recipe=recipe,
            # Empty for the best match, so that the plan names the machine as the origin of the profile.
            profile="" if match is self.profiles[0] else match.name,
            preset=self._presets.get(match.name, ""),
            data=data,
            overrides=tuple(self.overrides.items()),
        )
