"""The example files of the guide are read by the program."""

from __future__ import annotations

import re
from pathlib import Path

from helpers.docs import DOCS

from gputrain.profiles import catalog

EXAMPLE = re.compile(r"^```yaml\n# ~/\.config/gputrain/(\S+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def test_a_recipe_and_a_profile_of_ones_own(private_homes: Path) -> None:
    found = EXAMPLE.findall((DOCS / "guide" / "launch.md").read_text())
    for name, text in found:
        file = private_homes / "config" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    assert [name for name, _ in found] == ["recipes/flowers.yaml", "profiles/lab-server.yaml"]
    recipe = catalog.load_recipe("flowers")
    assert recipe.settings["epochs"] == 30
    assert recipe.requires == {"accumulation_steps": 1}
    profile = catalog.load_profile("lab-server")
    assert profile.preset("aggressive").recipes == {"flowers": {"batch_size": 128}}
    assert profile.preset(None).settings["num_workers"] == 8
