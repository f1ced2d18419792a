#!/usr/bin/env bash
# torchrun ends with 1 whatever its workers end with: a code that asks the scheduler for a requeue is lost.
set -euo pipefail
source "$(dirname "$0")/common.bash"

finding_venv torch==2.14.1
finding_python <<'PY'
import subprocess
import sys

from finding import report

with open("worker.py", "w") as file:
    file.write("import sys\nsys.exit(75)\n")
command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "worker.py"]
code = subprocess.run(command, capture_output=True, timeout=300).returncode
report("75, with which all workers ended", f"exit code {code}", code == 1)
PY
