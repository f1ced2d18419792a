#!/usr/bin/env bash
# A StopIteration that escapes from a map-style dataset (a bare next() on something empty) ends a DataLoader's epoch without an
# error, with workers and without.
set -euo pipefail
source "$(dirname "$0")/common.bash"

finding_venv torch==2.14.1
finding_python <<'PY'
from finding import report
from torch.utils.data import DataLoader, Dataset


class Boxes(Dataset):
    boxes = [[1], [2], [3], [], [5], [6], [7], [8]]

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: int) -> int:
        return next(iter(self.boxes[index]))


if __name__ == "__main__":
    seen = {}
    for workers in (0, 1):
        loader = DataLoader(Boxes(), batch_size=2, num_workers=workers)
        seen[workers] = (len(loader), [batch.tolist() for batch in loader])
    report(
        "an error, as for any other exception in __getitem__",
        f"workers: (length of the loader, batches): {seen}",
        all(batches == [[1, 2]] for _, batches in seen.values()),
    )
PY
