"""Help texts for values of the run: status, data pipeline, validation and settings."""

from __future__ import annotations

from gputrain.tui.metrics.panel_descriptions import MetricDescription

RUN_METRICS = (
    MetricDescription(
        "status",
        "● training",
        "Phase of the run: ● training, ○ another phase, ‖ paused or stopping, ■ ended, or why no events arrive.",
        "events of the run; status file and socket of its supervisor",
    ),
    MetricDescription("status", "epoch 3/50", "Current epoch of all epochs.", "the training loop"),
    MetricDescription(
        "status",
        "▕━━──▏ %, step",
        "Steps done of all steps; before the first step, the progress of the current phase.",
        "the training loop, or the phase itself",
    ),
    MetricDescription(
        "status",
        "img/s",
        "Images per second, see Throughput. Of a script of your own what it trains on: samples, tokens or steps.",
        "timed in the training loop",
    ),
    MetricDescription(
        "status",
        "ETA",
        "Remaining time: remaining steps at the speed of the last minute, plus the mean time of validations and "
        "checkpoints. Before the first step: remaining time of the phase, from its speed or from its last duration on "
        "this machine.",
        "step times; durations.json next to the caches",
    ),
    MetricDescription(
        "throughput", "mean", "Images of the whole run over the time of its steps.", "timed in the training loop"
    ),
    MetricDescription(
        "pipeline",
        "disk, files",
        "Bytes per second that the workers read from disk, and from all files: the rest came from the page cache.",
        "/proc of the workers, otherwise the counters of the disk",
        "after the first epoch much less from disk than from files",
    ),
    MetricDescription(
        "pipeline",
        "cpu",
        "Share of the workers' busy time spent computing. The rest they waited for the disk or for a free core.",
        "CPU time of the worker threads",
        "near 100 %",
    ),
    MetricDescription(
        "pipeline",
        "cache",
        "Share of images that came decoded from the cache (cache=disk or ram).",
        "counted by the workers",
        "100 % from the second epoch on",
    ),
    MetricDescription(
        "pipeline",
        "bottleneck",
        "The stage that the others wait for. Data, if data wait is at least 10 % of the step time: disk, if the "
        "workers spend half of their time reading, otherwise workers. Else copy, ranks or host from 10 % on.",
        "shares of the step time",
        "none, compute-bound",
    ),
    MetricDescription(
        "pipeline",
        "step time",
        "Time of the newest steps: data wait, copy, compute, ranks, other; together 100 %.",
        "timed in the training loop",
    ),
    MetricDescription(
        "loss",
        "◆ val",
        "Loss on the validation images.",
        "the validation after an epoch",
        "falls together with the training loss",
    ),
    MetricDescription(
        "metric",
        "◆ validation, ★ best",
        "The metric that selects the best epoch: an accuracy (higher is better) or an error (lower is better). The "
        "best epoch is kept as a checkpoint.",
        "validation on images outside of the training set",
        "still improving; if flat for many epochs, stop or lower the learning rate",
    ),
    MetricDescription("run", "loss", "Training loss of the newest steps.", "the training loop"),
    MetricDescription("run", "best", "Best validation value so far, and its epoch.", "the validation"),
    MetricDescription(
        "run", "elapsed", "Run time, without the time between a stop and a resume.", "time stamps of the record"
    ),
    MetricDescription("run", "epoch in", "Remaining time of the epoch.", "step times"),
    MetricDescription("run", "model, device", "Model, device and precision.", "the trainer"),
    MetricDescription("run", "batch", "Batch size, times ranks, times accumulated steps.", "the settings"),
    MetricDescription(
        "run",
        "loader",
        "Workers and their kind, batches prefetched by each, and the cache.",
        "the settings",
    ),
    MetricDescription(
        "run", "data", "Training images, validation images and classes.", "counted during the scan of the data"
    ),
    MetricDescription(
        "run", "saved", "Step and size of the newest checkpoint, and the number of checkpoints.", "the trainer"
    ),
    MetricDescription(
        "run",
        "trouble",
        "Unreadable images; events and step windows missing from the record.",
        "the workers, and gaps in the sequence numbers of events",
        "nothing",
    ),
    MetricDescription("run", "read", "Whether a long record was read completely or only in part.", "the record"),
    MetricDescription("run", "run", "Id of the run, for tail, stop, resume and compare.", "the run's folder"),
)
"""In the order of the panels."""
