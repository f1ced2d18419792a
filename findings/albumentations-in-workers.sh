#!/usr/bin/env bash
# albumentations in a DataLoader's workers: every worker draws the same numbers, and draws them again in each epoch.
set -euo pipefail
source "$(dirname "$0")/common.bash"

finding_venv torch==2.14.1 albumentations==2.0.8 numpy==2.4.6
export NO_ALBUMENTATIONS_UPDATE=1
finding_python <<'PY'
import numpy as np
from finding import report
from torch.utils.data import DataLoader, Dataset


class Augmented(Dataset):
    def __init__(self) -> None:
        import albumentations

        self.augment = albumentations.Compose([albumentations.RandomBrightnessContrast(p=1)])

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> int:
        return int(self.augment(image=np.full((4, 4, 3), 100, np.uint8))["image"][0, 0, 0])


if __name__ == "__main__":
    loader = DataLoader(Augmented(), batch_size=1, num_workers=2)
    epochs = [[int(value) for value in loader] for _ in range(2)]
    report(
        "eight different draws, and other ones in the second epoch (torch gives each worker and epoch a seed of its own)",
        f"brightness of an even picture in epoch 1 {epochs[0]}, in epoch 2 {epochs[1]}",
        epochs[0][0::2] == epochs[0][1::2] and epochs[0] == epochs[1],
    )
PY
