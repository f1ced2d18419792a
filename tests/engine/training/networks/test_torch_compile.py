"""torch.compile by blocks: same outputs, one compilation for equal blocks, cached for the next process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from skipped_tests import SERVICES
from torch import nn
from torchvision.models import resnet18

from gputrain.engine.configuration import settings
from gputrain.engine.training.networks import torch_compile

needs_compiler = pytest.mark.skipif(
    shutil.which("g++") is None, reason=f"needs g++, for torch.compile on a CPU: {SERVICES}"
)

ONE_COMPILATION = """
import json
from gputrain.engine.processes.compile_cache import set_compile_cache
set_compile_cache()
import torch
from torch import nn
from torch._dynamo.utils import counters
from gputrain.engine.configuration import settings
from gputrain.engine.training.networks.torch_compile import compile_network

torch.manual_seed(0)
network = nn.Sequential(*(nn.Sequential(nn.Linear(48, 48), nn.GELU()) for _ in range(5)))
speed = settings.build({"compile": True, "compile_scope": "blocks"}).speed
compile_network(network, speed, lambda *_: None)(torch.randn(4, 48)).sum().backward()
found = counters["inductor"]
print(json.dumps({name: found[name] for name in ("fxgraph_cache_hit", "fxgraph_cache_miss")}
    | {"graphs": counters["stats"]["unique_graphs"]}))
"""


def unheard(_kind: str, text: str) -> None:
    raise AssertionError(text)


def in_a_process(cache: Path) -> dict[str, int]:
    environment = {name: value for name, value in os.environ.items() if name != "TORCHINDUCTOR_CACHE_DIR"}
    environment["GPUTRAIN_CACHE"] = str(cache)
    command = [sys.executable, "-c", ONE_COMPILATION]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=200)
    found: dict[str, int] = json.loads(done.stdout)
    return found


@pytest.mark.long
@needs_compiler
def test_equal_blocks_are_compiled_once_and_kept_for_the_next_process(tmp_path: Path) -> None:
    first = in_a_process(tmp_path)
    # One for the first block, whose input takes no gradient, and one for the four others.
    assert first["graphs"] == 2
    assert first["fxgraph_cache_miss"] >= 1
    assert (tmp_path / "compiled").is_dir()
    second = in_a_process(tmp_path)
    assert second["fxgraph_cache_miss"] == 0
    assert second["fxgraph_cache_hit"] == first["fxgraph_cache_miss"]


@pytest.mark.long
@needs_compiler
# torch looks at it itself, behind a filter of its own that a filter for errors goes before.
@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")
def test_a_network_compiled_by_blocks_computes_what_the_plain_one_does() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(*(nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()) for _ in "ab"))
    images = torch.randn(3, 4, 9, 9)
    state = {name: value.clone() for name, value in network.state_dict().items()}
    plain = network(images)
    network.load_state_dict(state)
    speed = settings.build({"compile": True, "compile_scope": "blocks"}).speed
    assert torch.allclose(torch_compile.compile_network(network, speed, unheard)(images), plain, atol=1e-5)


def test_undo_removes_all_compiled_blocks() -> None:
    network = resnet18()
    speed = settings.build({"compile": True, "compile_scope": "blocks"}).speed
    torch_compile.compile_network(network, speed, unheard)
    assert any(module._compiled_call_impl is not None for module in network.modules())
    torch_compile.undo(network)
    assert all(module._compiled_call_impl is None for module in network.modules())


def test_a_model_without_blocks_is_compiled_as_a_whole_with_a_notice() -> None:
    said: list[str] = []
    speed = settings.build({"compile": True, "compile_scope": "blocks"}).speed
    torch_compile.compile_network(nn.Linear(2, 2), speed, lambda _kind, text: said.append(text))
    assert said == ["compile_scope: the model has no repeated blocks: it is compiled as a whole"]
