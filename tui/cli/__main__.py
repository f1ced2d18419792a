"""``python -m gputrain.tui.cli``: the command ``gputrain-tui``."""

from __future__ import annotations

import sys

from gputrain.tui.cli.main import main

sys.exit(main())
