#!/bin/bash
#SBATCH --ntasks=1 --requeue --open-mode=append --signal=USR1@120
# Arguments: those of `gputrain-tui train`.
name="job-$SLURM_JOB_ID"
export SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}"
if gputrain-tui runs --json --find "$name" | grep -qF "\"name\":\"$name\""; then
  srun --ntasks=1 gputrain-tui resume "$name" --if-needed --plain; code=$?
else
  srun --ntasks=1 gputrain-tui train "$@" name="$name" --plain; code=$?
fi
# 75: stopped by the scheduler after a checkpoint; 138: by SIGUSR1 before Python had started.
case $code in 75 | 138) scontrol requeue "$SLURM_JOB_ID" ;; esac
exit $code
