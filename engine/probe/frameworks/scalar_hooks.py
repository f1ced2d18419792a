"""Scalars that the script logs anyway, taken where they pass: in loggers, trainers and progress bars.

Only numbers that are on the host already are taken: reading one from a GPU would make the script wait for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

from ..page import Probe, hide_frame

_NAME = 100
_NAMED = 5
_ROOM = 6000


class ScalarHooks:
    """Each method patches one module and names the source of the scalars."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe

    def say(self, source: str, values: dict[str, Any], step: Any | None) -> None:
        """Write those of `values` that are numbers."""
        page = self._probe.trainer_page()
        if page is None:
            return
        found = {
            str(name)[:_NAME]: number for name, value in values.items() if (number := number_of(value)) is not None
        }
        finite = {name: number for name, number in found.items() if math.isfinite(number)}
        at = number_of(step)
        for part in _parts(finite):
            page.say(kind="scalars", source=source, values=part, step=at)
        if len(finite) < len(found):
            # JSON has no word for them.
            names = [name for name in found if name not in finite][:_NAMED]
            page.say(kind="nonfinite", names=names, step=at)

    def _after(self, owner: Any, method: str, source: str, take: Callable[..., Any]) -> None:
        """Call `take` with the arguments of ``owner.method`` after it; it returns (values, step) or None."""
        original = getattr(owner, method, None)
        if original is None:
            return
        probe = self._probe

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            try:
                result = original(*args, **kwargs)
            except BaseException as error:
                hide_frame(error)
                raise
            if source not in probe.off:
                try:
                    found = take(*args, **kwargs)
                    if found is not None:
                        self.say(source, *found)
                except Exception as error:  # noqa: BLE001 - the script comes first
                    probe.failed(source, error)
            return result

        wrapped.__name__ = getattr(original, "__name__", method)
        wrapped.__doc__ = getattr(original, "__doc__", None)
        wrapped.__wrapped__ = original  # type: ignore[attr-defined]
        setattr(owner, method, wrapped)

    def tensorboard(self, module: Any) -> None:
        """``torch.utils.tensorboard.writer`` and ``tensorboardX.writer``."""

        def take(_writer: Any, tag: str, scalar_value: Any, global_step: Any = None, *_: Any, **__: Any) -> Any:
            return {tag: scalar_value}, global_step

        def take_several(_writer: Any, main_tag: str, tag_scalar_dict: Any, global_step: Any = None, *_: Any) -> Any:
            return {f"{main_tag}/{tag}": value for tag, value in tag_scalar_dict.items()}, global_step

        self._after(module.SummaryWriter, "add_scalar", "tensorboard", take)
        self._after(module.SummaryWriter, "add_scalars", "tensorboard", take_several)

    def wandb(self, module: Any) -> None:
        """``wandb.sdk.wandb_run``."""

        def take(_run: Any, data: Any = None, step: Any = None, *_: Any, **__: Any) -> Any:
            return (data, step) if isinstance(data, dict) else None

        self._after(module.Run, "log", "wandb", take)

    def mlflow(self, module: Any) -> None:
        """``mlflow.tracking.fluent``."""
        self._after(module, "log_metric", "mlflow", lambda key, value, step=None, *_, **__: ({key: value}, step))
        self._after(module, "log_metrics", "mlflow", lambda metrics, step=None, *_, **__: (metrics, step))

    def lightning(self, module: Any) -> None:
        """``lightning.pytorch.trainer.connectors.logger_connector.logger_connector`` and its older name."""

        def take(_connector: Any, metrics: Any, step: Any = None, *_: Any, **__: Any) -> Any:
            return (metrics, step) if isinstance(metrics, dict) else None

        kind = getattr(module, "_LoggerConnector", None)
        if kind is not None:
            self._after(kind, "log_metrics", "lightning", take)

    def transformers(self, module: Any) -> None:
        """``transformers.trainer``: what its callbacks get to log."""

        def take(trainer: Any, logs: Any, *_: Any, **__: Any) -> Any:
            return (logs, trainer.state.global_step) if isinstance(logs, dict) else None

        self._after(module.Trainer, "log", "transformers", take)

    def tqdm(self, module: Any) -> None:
        """``tqdm.std``: the postfix of a progress bar."""

        def take(_bar: Any, ordered_dict: Any = None, refresh: Any = True, **values: Any) -> Any:
            found = {**(ordered_dict or {}), **values}
            return {name: _parsed(value) if isinstance(value, str) else value for name, value in found.items()}, None

        self._after(module.tqdm, "set_postfix", "tqdm", take)

    def ultralytics(self, module: Any) -> None:
        """``ultralytics.engine.trainer``: the losses, metrics and rates of an epoch, which it writes to a CSV file."""

        def take(trainer: Any, metrics: Any, *_: Any, **__: Any) -> Any:
            return metrics, trainer.epoch

        self._after(module.BaseTrainer, "save_metrics", "ultralytics", take)

    def timm(self, module: Any) -> None:
        """``timm.utils.summary``: the metrics of an epoch, which timm's own ``train.py`` writes to a CSV file."""

        def take(epoch: Any, train_metrics: Any, eval_metrics: Any, *_: Any, **__: Any) -> Any:
            found = {f"train_{name}": value for name, value in train_metrics.items()}
            return {**found, **{f"eval_{name}": value for name, value in (eval_metrics or {}).items()}}, epoch

        self._after(module, "update_summary", "timm", take)


def _parts(values: dict[str, float]) -> Iterator[dict[str, float]]:
    """Several of them, so that each is a line that the page's ring takes whole."""
    part: dict[str, float] = {}
    room = _ROOM
    for name, number in values.items():
        # A letter has up to six in JSON.
        size = 6 * len(name) + 40
        if part and size > room:
            yield part
            part, room = {}, _ROOM
        part[name] = number
        room -= size
    if part:
        yield part


def _parsed(text: str) -> float | None:
    """A number that was formatted for a progress bar."""
    try:
        return float(text)
    except ValueError:
        return None


def number_of(value: Any) -> float | None:
    """`value` as a float if that needs no device and no parsing; None otherwise."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, (int, float)):
        return float(value)
    device = getattr(value, "device", None)
    if device is not None and getattr(device, "type", "cpu") != "cpu" and device != "cpu":
        return None
    if getattr(value, "size", None) is not None and hasattr(value, "item"):
        count = value.numel() if hasattr(value, "numel") else value.size
        return float(value.item()) if count == 1 else None
    return None
