#!/bin/sh
# One run that survives preemption, time limits and failures of its node. Submit it with the arguments of
# `gputrain-tui train`:  sbatch job.sh --recipe resnet50-imagefolder --data /data/flowers epochs=90
#SBATCH --ntasks=1 --cpus-per-task=8
#SBATCH --requeue --open-mode=append --signal=USR1@120
name="job-$SLURM_JOB_ID"
export SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}"
if gputrain-tui runs --json --find "$name" | grep -qF "\"name\":\"$name\""; then
  srun --ntasks=1 gputrain-tui resume "$name" --if-needed --plain
else
  srun --ntasks=1 gputrain-tui train "$@" name="$name" --plain
fi
code=$?
# 75: stopped by the scheduler, after a checkpoint. 138: by SIGUSR1 before Python had started.
case $code in 75 | 138) scontrol requeue "$SLURM_JOB_ID" ;; esac
exit $code
