"""Whatever the signals are, hints are steady and feasible."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from gputrain.engine.common.units import GIB
from gputrain.engine.configuration.settings import build
from gputrain.engine.diagnosis.rules import CAUSES, evaluate
from gputrain.engine.diagnosis.windows.signals import Signals

share = st.floats(0, 1)
unknown_share = st.none() | share
ANY = st.builds(
    Signals,
    wait=share,
    first_wait=share,
    compute=share,
    copy=unknown_share,
    other=share,
    launch_gap=unknown_share,
    step_seconds=st.none() | st.floats(0, 2),
    rate=st.none() | st.floats(0, 1e4),
    saving=share,
    validating=share,
    epoch=st.integers(0, 2),
    on_gpu=st.booleans(),
    precision=st.sampled_from(["fp32", "bf16"]),
    workers=st.integers(0, 64),
    kind=st.sampled_from(["threads", "processes"]),
    sample_rate=st.none() | st.floats(0, 1e4),
    busy=unknown_share,
    cpu_ratio=unknown_share,
    run_delay=unknown_share,
    read_share=unknown_share,
    lock_share=unknown_share,
    from_disk=unknown_share,
    slowest=st.none() | st.floats(0, 10),
    data_bytes=st.none() | st.integers(0, 100 * GIB),
    usable_cores=st.none() | st.floats(0.1, 128),
    host_cores=st.none() | st.integers(1, 128),
    affinity=st.none() | st.integers(1, 128),
    cpu=st.none() | st.floats(0, 100),
    run_cpu=st.none() | st.floats(0, 128),
    foreign_cpu=st.none() | st.floats(0, 128),
    throttled=unknown_share,
    psi_io=unknown_share,
    psi_memory_full=unknown_share,
    ram_used=unknown_share,
    ram_total=st.none() | st.just(16 * GIB),
    run_memory=st.none() | st.integers(0, 16 * GIB),
    shm_used=unknown_share,
    utilization=st.none() | st.floats(0, 100),
    sm_activity=unknown_share,
    clock=unknown_share,
    slowed_by=st.sampled_from([(), ("power cap",)]),
    vram=unknown_share,
    alloc_retries=st.none() | st.integers(0, 9),
    vram_reserved=st.none() | st.floats(1, 5),
    batch_parts=st.none() | st.integers(1, 8),
    capability=st.none() | st.floats(3, 12),
    settings=st.fixed_dictionaries(
        {},
        optional={
            "batch_size": st.integers(1, 4096),
            "accumulation_steps": st.integers(1, 64),
            "lr": st.floats(1e-6, 100),
            "lr_batch_size": st.integers(0, 4096),
            "dataset": st.sampled_from(["demo", "custom"]),
            "checkpoint_epochs": st.integers(0, 9),
            "async_checkpoints": st.booleans(),
            "prefetch_factor": st.integers(1, 64),
            "compile": st.booleans(),
            "cache": st.sampled_from(["none", "ram", "disk"]),
            "pin_memory": st.booleans(),
            "persistent_workers": st.booleans(),
        },
    ),
)


@settings(max_examples=300, deadline=None)
@given(ANY)
def test_hints_are_valid_for_any_signals(signals: Signals) -> None:
    found = evaluate(signals)
    known = {cause.id for cause in CAUSES}
    for name, hint in found.items():
        assert name == hint.id
        assert name in known
        assert not re.search(r"\d", hint.title)
        assert hint.evidence
        said = " ".join((hint.evidence, hint.action, *hint.path))
        assert "nan" not in said
        assert "None" not in said
        assert hint.action.endswith((".", ")."))
        assert (hint.prediction is None) == (not hint.changes)
        build(hint.changes)
        promised = hint.prediction
        if promised is not None and promised.high is not None:
            assert promised.low is not None
            assert promised.low <= promised.high
        if name == "few-workers":
            assert signals.usable_cores is not None
            assert signals.workers < hint.changes["num_workers"] <= 1 + 4 * signals.usable_cores
    if "compute-bound" in found or "cpu-compute" in found:
        assert found.keys() <= {"compute-bound", "cpu-compute", "gpu-neighbour", "oversubscribed"}
