"""What ranks find on their nodes, and what is said where they differ."""

from __future__ import annotations

import socket
from pathlib import Path

import msgspec
import pytest

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.units import GIB
from gputrain.engine.configuration import settings
from gputrain.engine.configuration.config_file import write_config
from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.node_check import compare_ranks, rank_facts
from gputrain.engine.node_check.meeting_host import require_reachable
from gputrain.engine.node_check.rank_facts import RankFacts
from gputrain.engine.processes.rank_environment import MeetingPoint, RankInfo


def facts(rank: int, config: RunConfig, run: Path) -> RankFacts:
    info = RankInfo(rank, 4, rank % 2, 2, "srun", MeetingPoint("node-a", 1))
    found = rank_facts.gather_facts(info, config, run)
    return msgspec.structs.replace(found, host=f"node-{'ab'[rank // 2]}")


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    for name in ("train/cat", "train/dog"):
        (tmp_path / "data" / name).mkdir(parents=True)
    (tmp_path / "data" / "train" / "cat" / "1.jpg").touch()
    (tmp_path / "run").mkdir()
    found = settings.build({"dataset": "imagefolder", "data_dir": str(tmp_path / "data"), "device": "cpu"})
    write_config(tmp_path / "run" / "config.yaml", found, {})
    return found


@pytest.fixture
def ranks(config: RunConfig, tmp_path: Path) -> list[RankFacts]:
    return [facts(rank, config, tmp_path / "run") for rank in range(4)]


def texts(
    ranks: list[RankFacts], *, resumes: bool = False, clocks: tuple[float, ...] = (5.0, 5.0, 5.0, 5.0)
) -> list[str]:
    return [f"{one.level}: {one.text}" for one in compare_ranks.compare(ranks, clocks, resumes=resumes)]


@pytest.mark.parametrize("place", ["hf:ylecun/mnist", "s3://bucket/shards"])
def test_data_by_a_name_or_url_have_no_folder_that_ranks_compare(config: RunConfig, tmp_path: Path, place: str) -> None:
    dataset = "hf" if place.startswith("hf:") else "webdataset"
    named = settings.replace(config, data_dir=place, dataset=dataset)
    found = [facts(rank, named, tmp_path / "run") for rank in range(2)]
    assert {(one.data, one.names, one.data_error) for one in found} == {("", 0, "")}
    assert not [text for text in texts([*found, *found]) if "data" in text]


def test_ranks_that_agree(ranks: list[RankFacts]) -> None:
    assert texts(ranks, resumes=True) == []
    sentence = compare_ranks.in_order(ranks, (5.0, 5.002, 5.0, 5.0), 1.26)
    assert sentence.startswith("4 ranks on 2 nodes checked in 1.3 s: same code, torch ")
    assert sentence.endswith(", settings and data (4 names); clocks within 2 ms")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"code": "x"}, "error: code: {who} has other source of gputrain than {first}; install the same version"),
        ({"torch": "torch 2.9.0"}, "error: torch: {who} has torch 2.9.0, {first} torch "),
        ({"python": "3.9.1"}, "warning: Python: {who} has Python 3.9.1, {first} Python 3."),
        ({"world_size": 3}, "error: world size: {who} has a world of 3 ranks, {first} a world of 4 ranks; start all"),
        ({"settings": "x"}, "error: settings: {who} has other settings than {first}"),
        ({"data": "x", "names": 3}, "error: data_dir: {who} sees 3 names, {first} 4; all ranks need the same files"),
        ({"data": "", "data_error": "Permission denied"}, "error: {who} can't read the data: Permission denied; copy"),
        ({"run_config": ""}, "warning: {who} does not see the run directory; set GPUTRAIN_HOME to a folder"),
        ({"run_error": "Read-only file system"}, "warning: {who} can't write the run directory: Read-only file system"),
        ({"gpu_error": "2 ranks need one"}, "error: {who} has no GPU: 2 ranks need one"),
        (
            {"gpu_used": 12 * GIB, "gpu_memory": 24 * GIB},
            "warning: {who}: other programs use 12 GiB of 24 GiB of its GPU",
        ),
    ],
)
def test_a_difference_is_named_with_node_figure_and_remedy(
    ranks: list[RankFacts], change: dict[str, object], expected: str
) -> None:
    ranks[2] = msgspec.structs.replace(ranks[2], **change)
    (text,) = texts(ranks)
    assert text.startswith(expected.format(who="rank 2 on node-b", first="rank 0 on node-a"))


def test_clocks_and_a_run_directory_that_is_needed(ranks: list[RankFacts]) -> None:
    (text,) = texts(ranks, clocks=(5.0, 5.9, 5.0, 7.5))
    assert text == (
        "warning: rank 3 on node-b: its clock is 2.5 s ahead of rank 0's; synchronise it (chrony, systemd-timesyncd)"
    )
    ranks[3] = msgspec.structs.replace(ranks[3], run_config="other")
    (text,) = texts(ranks, resumes=True)
    assert text.startswith("error: rank 3 on node-b sees another run directory")


def test_facts_follow_the_files(config: RunConfig, tmp_path: Path) -> None:
    before = facts(1, config, tmp_path / "run")
    assert (before.names, before.data_error, before.run_error, before.gpu_error) == (4, "", "", "")
    # The same number of names, one of them another.
    (tmp_path / "data" / "train" / "cat" / "1.jpg").rename(tmp_path / "data" / "train" / "dog" / "1.jpg")
    after = facts(1, config, tmp_path / "run")
    assert (after.names, after.code, after.data == before.data) == (4, before.code, False)
    gone = facts(1, settings.replace(config, data_dir=str(tmp_path / "none")), tmp_path / "nowhere")
    assert "No such file or directory" in gone.data_error
    assert (gone.run_error, gone.run_config) == ("No such file or directory", "")
    assert gone.settings != before.settings


def test_a_loopback_name_is_refused_on_several_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"node-a": "10.0.0.1", "self": "10.0.0.2", "debian": "127.0.1.1", "localhost": "127.0.0.1"}

    def resolve(host: str, *_: object, **__: object) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        if host == "nobody":
            raise socket.gaierror("Name or service not known")
        return [(2, 1, 6, "", (names.get(host, host), 0))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(socket, "gethostname", lambda: "self")

    def check(host: str, **environ: str) -> None:
        require_reachable(RankInfo(2, 4, 0, 2, "srun", MeetingPoint(host, 1)), {"SLURM_STEP_NUM_NODES": "2", **environ})

    check("node-a", SLURM_NODEID="1")
    check("debian", SLURM_NODEID="0")  # its own name, as Debian's /etc/hosts has it
    with pytest.raises(BadInput, match=r"rank 2 on self: 'debian' is 127.0.1.1 on this node, a loopback address"):
        check("debian", SLURM_NODEID="1")
    with pytest.raises(BadInput, match=r"MASTER_ADDR: rank 2 on self: '127.0.0.1', a loopback address"):
        check("127.0.0.1", SLURM_NODEID="0")
    check("127.0.0.1", SLURM_STEP_NUM_NODES="1")
    with pytest.raises(BadInput, match=r"MASTER_ADDR: rank 2 on self: 'nobody' can't be resolved on this node"):
        check("nobody", SLURM_NODEID="1")
    monkeypatch.setattr(socket, "gethostname", lambda: "debian")
    with pytest.raises(BadInput, match=r"GLOO_SOCKET_IFNAME: rank 2 on debian: its name is 127.0.1.1"):
        check("node-a", SLURM_NODEID="1")
    check("node-a", SLURM_NODEID="1", GLOO_SOCKET_IFNAME="eth0")
