"""The figures of the run itself, explained: its status, its way from disk to GPU, its validations and settings."""

from __future__ import annotations

from gputrain.tui.metrics.panel_descriptions import MetricDescription

RUN_METRICS = (
    MetricDescription(
        "status",
        "● training",
        "What the run is busy with. ○ something before or between, ‖ held, ■ over, or why nothing comes any more.",
        "the run's own words; that its supervisor lives, from its status file and socket",
    ),
    MetricDescription(
        "status", "epoch 3/50", "The epoch that is trained, of all that were asked for.", "the training loop"
    ),
    MetricDescription(
        "status",
        "▕━━──▏ %, step",
        "Steps done, of all; before the first step, how far the present work is, in images or whatever it counts.",
        "the training loop, and whoever does the work",
    ),
    MetricDescription(
        "status", "img/s", "As under Throughput: of the last ten seconds of steps.", "the training loop's clock"
    ),
    MetricDescription(
        "status",
        "ETA",
        "Time until the end: steps to go at the pace of the last minute, with what validations and checkpoints added "
        "to a step so far. Before the first step, until the end of the present work: by its rate, or by what it took "
        "the last time on this machine.",
        "the steps' clock; durations.json beside the caches",
    ),
    MetricDescription(
        "throughput", "mean", "Images of the whole run over the time its steps took.", "the training loop's clock"
    ),
    MetricDescription(
        "pipeline",
        "disk, files",
        "What the workers' reads brought from a disk, and all that they read: the difference was in the page cache.",
        "/proc of the workers, else the disk's own counter",
        "from the disk far less than from files, once all data was read",
    ),
    MetricDescription(
        "pipeline",
        "cpu",
        "Share of the workers' busy time in which they computed. What is missing they waited: for the disk, or for a "
        "free core.",
        "their threads' CPU clocks",
        "near 100 %",
    ),
    MetricDescription(
        "pipeline",
        "cache",
        "Share of the images that came prepared from the cache (cache=disk or ram).",
        "counted by the workers",
        "100 % from the second epoch on",
    ),
    MetricDescription(
        "pipeline",
        "bottleneck",
        "What the other stages wait for: the data if the loop waits for 10 % of a step or more, and within it the disk "
        "if half of the workers' time is reading; else the copy or the host from 10 %.",
        "the shares of the step time",
        "none, compute-bound",
    ),
    MetricDescription(
        "pipeline",
        "step time",
        "Where the time of the newest steps went: waiting for data, copying, computing, other; together 100 %.",
        "the training loop's clock",
    ),
    MetricDescription(
        "loss", "◆ val", "Loss on the validation images.", "the validation after an epoch", "falls with training's"
    ),
    MetricDescription(
        "metric",
        "◆ validation, ★ best",
        "The figure that decides which epoch is best: an accuracy, or an error of which less is better. The best one "
        "is kept as a checkpoint.",
        "the validation, on images that are not trained on",
        "still rising (an error: falling); flat for many epochs: stop, or a lower learning rate",
    ),
    MetricDescription("run", "loss", "As under Loss: of the newest steps.", "the training loop"),
    MetricDescription("run", "best", "The best validation so far, and its epoch.", "the validation"),
    MetricDescription(
        "run", "elapsed", "Time of the run; time in which nobody ran it is left out.", "the record's clock"
    ),
    MetricDescription("run", "epoch in", "Time until the end of the epoch's steps.", "the steps' clock"),
    MetricDescription("run", "model, device", "What is trained, on what, and in which arithmetic.", "the trainer"),
    MetricDescription(
        "run", "batch", "Images of a step, times the steps whose gradients are added up.", "the settings"
    ),
    MetricDescription(
        "run",
        "loader",
        "Workers and their kind; batches that each prepares ahead; the cache, if any.",
        "the settings",
    ),
    MetricDescription(
        "run", "data", "Images to train on and to validate on; classes.", "counted when the data was scanned"
    ),
    MetricDescription("run", "saved", "The newest checkpoint, its size, and how many were written.", "the trainer"),
    MetricDescription(
        "run",
        "trouble",
        "Images that could not be read; events and windows of steps that are missing in these figures.",
        "the workers, and gaps in the record's numbers",
        "nothing",
    ),
    MetricDescription(
        "run", "read", "Whether all of a long record was read, or parts that stand for the rest.", "the record"
    ),
    MetricDescription("run", "run", "Its name, for tail, stop, resume and compare.", "the run's folder"),
)
"""In the order of the panels."""
