#!/usr/bin/env bash
# DataLoader(persistent_workers=True) takes another num_workers without a word, shows it, and goes on with the old workers.
set -euo pipefail
source "$(dirname "$0")/common.bash"

finding_venv torch==2.14.1
finding_python <<'PY'
import os

from finding import report
from torch.utils.data import DataLoader, Dataset


class Processes(Dataset):
    def __len__(self) -> int:
        return 16

    def __getitem__(self, index: int) -> int:
        return os.getpid()


if __name__ == "__main__":
    loader = DataLoader(Processes(), batch_size=2, num_workers=1, persistent_workers=True)
    before = {pid for batch in loader for pid in batch.tolist()}
    loader.num_workers = 2
    after = {pid for batch in loader for pid in batch.tolist()}
    report(
        "two workers from the next epoch on, or an error as for batch_size",
        f"num_workers is {loader.num_workers}; processes before {len(before)}, after {len(after)}, the same: {before == after}",
        loader.num_workers == 2 and before == after,
    )
PY
