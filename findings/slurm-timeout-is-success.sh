#!/usr/bin/env bash
# Slurm: `sbatch --wait` returns 0 for a job whose state is TIMEOUT, if its script ends with 0 on the signal.
# Takes about one and a half minutes.
set -euo pipefail
source "$(dirname "$0")/slurm.bash"

slurm_start 22.05.8-4+deb12u3 0.5.15-2+deb12u1
cat >"$slurm_work/job.sh" <<'JOB'
#!/bin/bash
trap 'exit 0' TERM
sleep 300 &
wait
JOB
code=0
sbatch --wait --time=1 --ntasks=1 --job-name=limited --output=/dev/null "$slurm_work/job.sh" >"$slurm_work/id" || code=$?
state=$(scontrol show job "$(awk '{ print $4 }' "$slurm_work/id")" | grep -o 'JobState=[A-Z]*')
unchanged=false
[ "$code:$state" != 0:JobState=TIMEOUT ] || unchanged=true
slurm_report "not 0: the job did not reach its end" "$state, exit code of sbatch --wait: $code" "$unchanged"
