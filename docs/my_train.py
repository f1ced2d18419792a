"""A training script as many are: a DataLoader without workers and images from a slow storage; it names no gputrain."""

import time

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Images(Dataset[tuple[torch.Tensor, int]]):
    """Images that take 10 ms each to come, as over a network."""

    def __len__(self) -> int:
        return 24_000

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        time.sleep(0.01)
        image = torch.linspace(0, index % 7, 3 * 32 * 32).reshape(3, 32, 32)
        return image, index % 7


def main() -> None:
    """Train for ten epochs."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(128, 7))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    loader = DataLoader(Images(), batch_size=16, shuffle=True)
    for epoch in range(10):
        for images, labels in loader:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch}: loss {loss.item():.3f}")


if __name__ == "__main__":
    main()
