"""Ranks that torchrun, srun, MPI or a Slurm job started: rank 0 supervises the run."""
