#!/usr/bin/env bash
# The loader that accelerate.prepare returns takes another num_workers, shows it, and loads in the main process as before.
set -euo pipefail
source "$(dirname "$0")/common.bash"

finding_venv torch==2.14.1 accelerate==1.15.0
finding_python <<'PY'
import os

from accelerate import Accelerator
from finding import report
from torch.utils.data import DataLoader, Dataset


class Processes(Dataset):
    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> int:
        return os.getpid()


if __name__ == "__main__":
    loader = Accelerator(cpu=True).prepare(DataLoader(Processes(), batch_size=2))
    loader.num_workers = 2
    processes = {pid for batch in loader for pid in batch.tolist()}
    report(
        "two workers, as with the DataLoader it stands for",
        f"num_workers is {loader.num_workers}; loaded in the main process: {processes == {os.getpid()}}",
        loader.num_workers == 2 and processes == {os.getpid()},
    )
PY
