"""The dashboard process does not import torch."""

from __future__ import annotations

import subprocess
import sys


def test_the_dashboard_never_imports_torch() -> None:
    code = (
        "import sys, gputrain.tui.app, gputrain.tui.cli.plain_output; "
        "print([name for name in ('torch', 'torchvision', 'numpy', 'gputrain.profiles') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
