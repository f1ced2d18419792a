"""Causes of slow training other than data: checkpoints, copies, kernel launches, GPU clocks, other programs.

The thresholds of the GPU causes follow documents of NVIDIA and PyTorch. They were tried with scripted values and on one
H200, and are not tuned.
"""

from __future__ import annotations

from gputrain.engine.diagnosis import device_bound_fixes as fixes
from gputrain.engine.diagnosis.input_bound_causes import CROWDED
from gputrain.engine.diagnosis.speedup_prediction import FOREIGN_CORES
from gputrain.engine.diagnosis.tree_nodes import LITTLE, MUCH, Cause, Question
from gputrain.engine.diagnosis.windows.signals import FULL_CPU, Signals

LOW_UTILIZATION, HIGH_UTILIZATION = 70.0, 80.0
MOSTLY_COMPUTE, MUCH_COMPUTE = 0.85, 0.70
SHORT_STEP = 0.03
"""Seconds of a step below which its gaps come from kernel launches; gaps in longer steps have other causes."""
LOW_ACTIVITY = 0.5
TENSOR_CORES = 7.0
"""Compute capability from which there are tensor cores (for fp16; for bf16 and TF32 from 8.0)."""
LOW_CLOCK = 0.85
_THERMAL = ("software thermal", "hardware thermal", "hardware slowdown", "power brake", "power cap")

_UTILIZATION = Question(lambda s: s.utilization, "GPU utilization {}", unit="percent")
_COMPUTING = Question(lambda s: s.compute, "computing {} of the time")
_WAITED = Question(lambda s: s.wait, "data wait {} of the time")
_ON_GPU = Question(lambda s: float(s.on_gpu), "the device is {}a GPU", least=1, unit="yes")
_BATCH = Question(lambda s: s.setting("batch_size", None), "batches of {}", unit="count")
_GAP = Question(lambda s: s.gap, "the GPU was idle, although data was ready, {} of the time", least=MUCH)
_DATA_THERE = Question(lambda s: s.wait, "data wait {} of the time", below=MUCH)


STALLS = (
    Cause(
        "checkpoints",
        "Checkpoints take much of the time",
        (Question(lambda s: s.saving, "saving took {} of the time", least=MUCH),),
        fixes.saving,
        "the rate stays the same with fewer checkpoints",
        lambda s: s.saving,
    ),
    Cause(
        "validation",
        "Validation takes much of the time",
        (Question(lambda s: s.validating, "validation took {} of the time", least=MUCH),),
        fixes.validating,
        "the time per epoch stays the same with fewer validations",
        lambda s: s.validating,
    ),
)
"""Each is checked independently."""
RANKS = (
    Cause(
        "slow-rank",
        "One slow rank holds up the others",
        (
            Question(lambda s: s.rank_skew, "the slowest rank takes {} of a step longer than the others", least=MUCH),
            Question(lambda s: s.exchange, "rank 0 waits for the others {} of the time"),
        ),
        fixes.slow_rank,
        "another rank becomes the slowest when the GPUs are assigned in another order",
        lambda s: s.rank_skew,
        (Question(lambda s: s.late_by_data, "{} of that is waiting for data"),),
    ),
    Cause(
        "communication",
        "The gradient all-reduce takes much of the time",
        (Question(lambda s: s.least_exchange, "even the slowest rank waits for gradients {} of the time", least=MUCH),),
        fixes.communication,
        "the share stays the same with batches twice as large",
        lambda s: s.least_exchange,
        (
            _BATCH,
            Question(lambda s: s.gradient_bytes, "gradients of {}", unit="bytes"),
            Question(lambda s: s.link_rate and s.link_rate / 1e9, "at most {} GB/s", unit="cores"),
        ),
    ),
)
"""For runs with several ranks; each is checked independently."""
DEVICE = (
    Cause(
        "host-copy",
        "Host-to-device copies take much of the time",
        (_ON_GPU, Question(lambda s: s.exposed_copy, "copies without overlap took {} of the time", least=MUCH)),
        fixes.copy,
        "the rate stays the same with pinned memory",
        lambda s: s.exposed_copy,
        (_UTILIZATION,),
    ),
    Cause(
        "launch-bound",
        "The GPU waits for kernel launches",
        (
            _ON_GPU,
            _DATA_THERE,
            _GAP,
            Question(lambda s: s.step_seconds, "a step took {}", below=SHORT_STEP, unit="seconds"),
        ),
        fixes.less_launching,
        "the time per image stays the same with a batch twice as large",
        lambda s: s.gap,
        (_UTILIZATION, _BATCH),
    ),
    Cause(
        "host-bound",
        "The GPU waits for the host between steps",
        (_ON_GPU, _DATA_THERE, _GAP),
        fixes.host,
        "the gaps stay the same without logging and without synchronizing calls",
        lambda s: s.gap,
        (_UTILIZATION,),
    ),
    Cause(
        "small-work",
        "The GPU has too little work at a time",
        (
            _ON_GPU,
            Question(lambda s: s.wait, "data wait {} of the time", below=LITTLE),
            Question(lambda s: s.utilization, "GPU utilization {}", below=LOW_UTILIZATION, unit="percent"),
            Question(lambda s: s.saving + s.validating, "saving and validating took {} of the time", below=MUCH),
        ),
        fixes.less_launching,
        "the time per image stays the same with a batch twice as large",
        lambda s: None if s.utilization is None else min(0.19, 1 - s.utilization / 100),
        (_BATCH,),
    ),
    Cause(
        "throttled",
        "The GPU is throttled: its clock is low",
        (
            _ON_GPU,
            Question(lambda s: s.clock, "its clock is {} of its maximum", below=LOW_CLOCK),
            Question(
                lambda s: float(any(one in _THERMAL for one in s.slowed_by)),
                "heat or power does {}lower it",
                1,
                None,
                "yes",
            ),
        ),
        fixes.cooling,
        "the clock stays the same while the GPU is idle and cool",
        lambda s: None if s.clock is None else 1 - s.clock,
        (_UTILIZATION,),
    ),
    Cause(
        "no-tensor-cores",
        "The tensor cores are not used",
        (
            _ON_GPU,
            Question(lambda s: s.capability, "its compute capability is {}", least=TENSOR_CORES, unit="cores"),
            Question(lambda s: s.compute, "computing {} of the time", least=MUCH_COMPUTE),
            Question(
                lambda s: float(s.precision == "fp32" and not s.setting("tf32", False)),
                "plain float32 is {}used",
                1,
                None,
                "yes",
            ),
        ),
        fixes.precision,
        "the rate stays the same in bf16",
        lambda s: 0.0,
        (Question(lambda s: s.tensor_activity, "tensor cores active {} of the time"), _COMPUTING),
        "warning",
    ),
    Cause(
        "inefficient",
        "The GPU is busy, but only partly occupied",
        (
            _ON_GPU,
            Question(lambda s: s.utilization, "GPU utilization {}", least=HIGH_UTILIZATION, unit="percent"),
            Question(lambda s: s.compute, "computing {} of the time", least=MUCH_COMPUTE),
            Question(lambda s: s.sm_activity, "its multiprocessors were active {} of the time", below=LOW_ACTIVITY),
        ),
        fixes.inefficient,
        "the activity stays the same with a batch twice as large",
        lambda s: 0.0,
        (_BATCH,),
        "info",
    ),
)
"""At most one is reported: each would make the later ones hold too."""
NEIGHBOUR = Cause(
    "gpu-neighbour",
    "Other programs use the GPU",
    (
        _ON_GPU,
        Question(
            lambda s: float(len(s.gpu_neighbours)), "other programs that hold GPU memory: {}", least=1, unit="count"
        ),
    ),
    fixes.neighbour,
    "the rate stays the same without them",
    lambda s: 0.0,
    severity="info",
)


def _taken_cores(s: Signals) -> float | None:
    """What other programs cost a training on the CPU: cores of its computing, and while it waits those of its workers.

    Workers that wait for files or a lock would wait as long without those programs.
    """
    if s.foreign_share is None or s.run_delay is None:
        return s.foreign_share
    return (1 - s.wait) * s.foreign_share + s.wait * s.run_delay


CONTENTION = Cause(
    "cpu-contention",
    "Other programs take cores from the training",
    (
        Question(lambda s: float(s.on_gpu), "the device is {}a GPU", below=1, unit="yes"),
        Question(lambda s: s.cpu, "CPU {} busy", least=FULL_CPU, unit="percent"),
        Question(lambda s: s.foreign_share, "other programs used {} of the usable cores", least=CROWDED),
        Question(lambda s: s.foreign_cpu, "other programs used {} cores", least=FOREIGN_CORES, unit="cores"),
    ),
    fixes.contention,
    "the rate stays the same when they have ended",
    _taken_cores,
)
HEALTHY = (
    Cause(
        "cpu-compute",
        "Healthy: training on the CPU, which is fully used",
        (
            Question(lambda s: float(s.on_gpu), "the device is {}a GPU", below=1, unit="yes"),
            Question(lambda s: s.cpu, "CPU {} busy", least=FULL_CPU, unit="percent"),
            # With a full CPU, a batch is sometimes a little late.
            _DATA_THERE,
        ),
        fixes.cpu_bound,
        "some cores are idle",
        lambda s: 0.0,
        severity="info",
    ),
    Cause(
        "compute-bound",
        "Healthy: compute-bound",
        (
            Question(lambda s: s.wait, "data wait {} of the time", below=LITTLE),
            Question(lambda s: s.compute, "computing {} of the time", least=MOSTLY_COMPUTE),
        ),
        fixes.compute_bound,
        "the steps become shorter with more workers",
        lambda s: 0.0,
        (_UTILIZATION,),
        "info",
    ),
)
"""Checked when no other cause holds."""
