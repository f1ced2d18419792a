"""A bare PyTorch script up to its first step: ``python bare_start.py FOLDER MODEL WORKERS``. Prints a line after it.

What PyTorch's own examples do: torchvision's ImageFolder and transforms, a DataLoader, SGD. `start.py` compares it.
"""

from __future__ import annotations

import sys

import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets, models, transforms

SIZE, BATCH, CROP = 80, 64, 0.35
"""As in the recipe demo."""


def network(name: str, outputs: int) -> nn.Module:
    """The model by name."""
    if name == "simple_cnn":
        from gputrain.engine.training.networks.simple_cnn import SimpleCNN

        return SimpleCNN(outputs)
    made: nn.Module = models.get_model(name, num_classes=outputs)
    return made


def main(folder: str, name: str, workers: int) -> None:
    """Train one step on the images in FOLDER/train."""
    crop = transforms.RandomResizedCrop(SIZE, scale=(CROP, 1))
    means, deviations = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    steps = [crop, transforms.RandomHorizontalFlip(), transforms.ToTensor(), transforms.Normalize(means, deviations)]
    images = datasets.ImageFolder(f"{folder}/train", transforms.Compose(steps))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = network(name, len(images.classes)).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, nesterov=True)
    loader = DataLoader(images, BATCH, shuffle=True, num_workers=workers, pin_memory=device.type == "cuda")
    model.train()
    for pictures, labels in loader:
        loss = nn.functional.cross_entropy(model(pictures.to(device)), labels.to(device))
        loss.backward()
        optimizer.step()
        print(f"step 1: {loss.item():.4f}", flush=True)
        return


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
