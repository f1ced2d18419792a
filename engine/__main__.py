"""``python -P -m gputrain.engine RUN_DIR [--resume]``: the supervisor of a run. Started by `gputrain.engine.launch`."""

from __future__ import annotations

import sys
from pathlib import Path

from gputrain.engine.runs import RunDir
from gputrain.engine.supervisor import supervise

if __name__ == "__main__":
    sys.exit(supervise(RunDir(Path(sys.argv[1])), resume="--resume" in sys.argv[2:]))
