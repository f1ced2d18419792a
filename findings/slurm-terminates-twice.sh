#!/usr/bin/env bash
# Slurm at a job's time limit: each task of a step gets SIGTERM twice within milliseconds, on scancel once. A program whose
# second SIGTERM means "leave at once" loses its checkpoint. Takes about two minutes.
set -euo pipefail
source "$(dirname "$0")/slurm.bash"

slurm_start 22.05.8-4+deb12u3 0.5.15-2+deb12u1
cat >"$slurm_work/task.py" <<'PY'
import signal
import sys
import time

log = open(sys.argv[1], "w", buffering=1)
signal.signal(signal.SIGTERM, lambda *_: log.write(f"{time.monotonic():.3f}\n"))
while True:
    time.sleep(0.01)
PY
printf '#!/bin/bash\nsrun --ntasks=1 python3 %s/task.py $1\n' "$slurm_work" >"$slurm_work/job.sh"
limited=$(sbatch --parsable --time=1 --ntasks=1 --output=/dev/null "$slurm_work/job.sh" "$slurm_work/limit.log")
while [ "$(squeue -h -j "$limited" -o %t)" = PD ]; do sleep 1; done
until squeue -h -j "$limited" -o %t | grep -q CG || ! squeue -h -j "$limited" | grep -q .; do sleep 1; done
sleep 3
cancelled=$(sbatch --parsable --ntasks=1 --overcommit --output=/dev/null "$slurm_work/job.sh" "$slurm_work/cancel.log")
for _ in $(seq 120); do
    [ ! -e "$slurm_work/cancel.log" ] || break
    sleep 1
done
sleep 1
scancel "$cancelled"
sleep 4
at_limit=$(wc -l <"$slurm_work/limit.log")
at_cancel=$(wc -l <"$slurm_work/cancel.log")
between=$(awk 'NR == 1 { first = $1 } END { printf "%.0f", ($1 - first) * 1000 }' "$slurm_work/limit.log")
unchanged=false
[ "$at_limit" != 2 ] || [ "$at_cancel" != 1 ] || unchanged=true
slurm_report "one SIGTERM, and SIGKILL after KillWait (30 s)" \
    "at the time limit $at_limit SIGTERM, $between ms apart; on scancel $at_cancel" "$unchanged"
