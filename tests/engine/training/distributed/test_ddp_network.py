"""DistributedDataParallel where a rank has no gradients, or not all: real gloo processes, compared with one process."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
import torch
from helpers.training.rank_tools import start_ranks
from torch import nn

from gputrain.engine.processes.rank_environment import MeetingPoint
from gputrain.engine.training.distributed.ddp_network import DataParallel
from gputrain.engine.training.distributed.process_group import ProcessGroup

RANKS = 2


class Net(nn.Module):
    """Channels_last convolutions, and a layer that the loss does not depend on."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3)
        self.unused = nn.Linear(5, 5)
        self.fails = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.first(x)
        if self.fails:
            hidden.register_hook(_full)
        outputs: torch.Tensor = self.second(hidden).mean((2, 3))
        return outputs


def _full(gradient: torch.Tensor) -> torch.Tensor:
    raise torch.OutOfMemoryError("made by a test")


def network() -> Net:
    torch.manual_seed(0)
    return Net().to(memory_format=torch.channels_last)


def images(rank: int, number: int) -> torch.Tensor:
    return torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(10 * rank + number))


def gradients(net: Net) -> list[torch.Tensor]:
    assert all(p.grad is not None and p.grad.stride() == p.stride() for p in net.parameters())
    return [p.grad.clone() for p in net.parameters() if p.grad is not None]


def passes(net: Net, both: DataParallel, rank: int, count: int) -> None:
    """`count` batches of one update, of which the last one is synchronised."""
    for number in range(count):
        with both.last_pass() if number == count - 1 else both.accumulating():
            both.forward(images(rank, number)).square().mean().backward()


def work(rank: int, meeting: MeetingPoint, folder: str) -> None:
    torch.set_num_threads(1)
    ranks = ProcessGroup(meeting, rank, RANKS)
    net = network()
    if rank:
        nn.init.zeros_(net.first.weight)
    both = DataParallel(net, ranks, lambda: None)
    packed = DataParallel(network(), ranks, lambda: None, "bf16")
    found: dict[str, list[torch.Tensor]] = {"weights": [p.detach().clone() for p in net.parameters()]}

    def update(name: str, body: Callable[[], None], failing: int | None = None) -> None:
        net.zero_grad()
        net.fails = rank == failing
        with contextlib.suppress(torch.OutOfMemoryError):
            body()
        both.finish()
        found[name] = gradients(net)

    update("one batch", lambda: passes(net, both, rank, 1))
    update("fails in the backward pass", lambda: passes(net, both, rank, 1), failing=1)
    update("after that", lambda: passes(net, both, rank, 1))
    update("fails while accumulating", lambda: passes(net, both, rank, 2), failing=0)
    update("two batches", lambda: passes(net, both, rank, 2))
    update("no batch on rank 1", lambda: passes(net, both, rank, 1 - rank))
    passes(packed._entry.network, packed, rank, 1)  # type: ignore[arg-type]
    packed.finish()
    found["bf16"] = [p.grad.clone() for p in packed._entry.network.parameters() if p.grad is not None]
    small = DataParallel(network(), ranks, lambda: None, bucket_mib=1)
    passes(small._entry.network, small, rank, 1)  # type: ignore[arg-type]
    small.finish()
    found["small buckets"] = [p.grad.clone() for p in small._entry.network.parameters() if p.grad is not None]
    found["bucket MiB"] = [torch.tensor([one._ddp.bucket_bytes_cap >> 20 for one in (both, small)])]
    torch.save(found, f"{folder}/{rank}")
    ranks.leave()


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, list[torch.Tensor]]]:
    folder = str(tmp_path_factory.mktemp("ranks"))
    assert start_ranks(RANKS, work, folder) == [0] * RANKS
    return [torch.load(f"{folder}/{rank}", weights_only=True) for rank in range(RANKS)]


def alone(*batches: tuple[int, int, float]) -> list[torch.Tensor]:
    """Gradients of one process: (rank, number, share) of each batch."""
    net = network()
    for rank, number, share in batches:
        (net(images(rank, number)).square().mean() * share).backward()
    return [torch.zeros_like(p) if p.grad is None else p.grad for p in net.parameters()]


def test_all_ranks_begin_with_the_weights_of_rank_0(found: list[dict[str, list[torch.Tensor]]]) -> None:
    for of_rank in found:
        torch.testing.assert_close(of_rank["weights"], [p.detach() for p in network().parameters()], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("one batch", ((0, 0, 0.5), (1, 0, 0.5))),
        ("after that", ((0, 0, 0.5), (1, 0, 0.5))),
        ("two batches", ((0, 0, 0.5), (0, 1, 0.5), (1, 0, 0.5), (1, 1, 0.5))),
        ("no batch on rank 1", ((0, 0, 0.5),)),
    ],
)
def test_gradients_are_the_means(
    found: list[dict[str, list[torch.Tensor]]], name: str, expected: tuple[tuple[int, int, float], ...]
) -> None:
    for of_rank in found:
        torch.testing.assert_close(of_rank[name], alone(*expected))


@pytest.mark.parametrize("name", ["fails in the backward pass", "fails while accumulating"])
def test_a_rank_that_fails_leaves_no_rank_waiting(found: list[dict[str, list[torch.Tensor]]], name: str) -> None:
    # The sums do not count, but all ranks have the same.
    torch.testing.assert_close(found[0][name], found[1][name], rtol=0, atol=0)


def test_the_size_of_the_buckets_changes_no_gradient(found: list[dict[str, list[torch.Tensor]]]) -> None:
    for of_rank in found:
        assert of_rank["bucket MiB"][0].tolist() == [25, 1]
        torch.testing.assert_close(of_rank["small buckets"], alone((0, 0, 0.5), (1, 0, 0.5)))


def test_gradients_compressed_to_bf16_are_close(found: list[dict[str, list[torch.Tensor]]]) -> None:
    expected = alone((0, 0, 0.5), (1, 0, 0.5))
    for of_rank in found:
        torch.testing.assert_close(of_rank["bf16"], expected, rtol=0.02, atol=1e-3)
        assert not all(torch.equal(one, other) for one, other in zip(of_rank["bf16"], expected, strict=True))
