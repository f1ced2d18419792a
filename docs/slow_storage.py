"""The demo's images from a slow storage: each file takes 10 ms to come, as over a network, and no CPU.

A data set of one's own, for seeing what the diagnosis makes of it (docs/diagnosis.md). The pictures are drawn first if
the demo has not drawn them yet.
"""

import time
from pathlib import Path

from PIL import Image
from torch.utils.data import Dataset

from gputrain.engine.datasets.demo.demo_dataset import ensure_demo

SECONDS = 0.01
SIDE = 64


class SlowStorage(Dataset[tuple[Image.Image, int]]):
    """Images of class folders."""

    def __init__(self, folder: Path) -> None:
        self.classes = sorted(home.name for home in folder.iterdir())
        self.files = [
            (str(file), label) for label, name in enumerate(self.classes) for file in sorted((folder / name).iterdir())
        ]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        file, label = self.files[index]
        time.sleep(SECONDS)
        return Image.open(file).convert("RGB").resize((SIDE, SIDE)), label


def make(data_dir: str) -> SlowStorage:
    """What ``custom=slow_storage:make`` names."""
    return SlowStorage((Path(data_dir) if data_dir else ensure_demo(lambda done, total: None)) / "train")
