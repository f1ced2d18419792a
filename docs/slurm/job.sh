#!/bin/bash
#SBATCH --requeue --open-mode=append --signal=USR1@120
name="job-$SLURM_JOB_ID"
if gputrain-tui runs --json --find "$name" | grep -qF "\"name\":\"$name\""; then
  srun gputrain-tui resume "$name" --plain; code=$?
else
  srun gputrain-tui train --recipe resnet50-imagefolder --data /data/flowers name="$name" --plain; code=$?
fi
[ $code -ne 75 ] || scontrol requeue "$SLURM_JOB_ID"
exit $code
