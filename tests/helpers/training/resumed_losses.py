"""Training from shards, resumed in mid-epoch, against the same training from the folder of their images."""

from __future__ import annotations

from pathlib import Path

from gputrain.engine.configuration import settings
from gputrain.engine.events import EpochEnded, ModelReady, Outcome, Validated
from helpers.training.training_tools import Result, small_config, train


def losses_of_a_resumed_run(pictures: Path, shards: Path, dataset: str, folder: Path) -> tuple[Result, Result]:
    """Assert that all losses and metrics are the same to the bit; the second part has other workers.

    `pictures`: an image folder, of which `shards` were made. Returns the run from the folder, and the stopped one.
    """
    (folder / "a").mkdir()
    (folder / "b").mkdir()
    reference = train(folder / "a", small_config(pictures))
    assert reference.ended.outcome == Outcome.FINISHED
    config = small_config(shards, dataset=dataset)
    stopped = train(folder / "b", config, stop_at=8)
    start = max((folder / "b" / "checkpoints").glob("*.pt"))
    changes = {"resume_from": str(start), "num_workers": 1, "loader": "processes"}
    rest = train(folder / "b", settings.replace(config, **changes))
    assert rest.ended.outcome == Outcome.FINISHED
    assert rest.of(ModelReady)[0].start_step == 8
    for results in (_train_losses, _validations):
        assert results(stopped) + results(rest) == results(reference)
    return reference, stopped


def _train_losses(result: Result) -> list[float | None]:
    return [event.train_loss for event in result.of(EpochEnded)]


def _validations(result: Result) -> list[dict[str, float]]:
    return [event.metrics for event in result.of(Validated)]
