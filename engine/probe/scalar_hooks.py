"""Scalars that the script logs anyway, taken where they pass: in loggers, trainers and progress bars.

Only numbers that are on the host already are taken: reading one from a GPU would make the script wait for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .page import Probe


class ScalarHooks:
    """Each method patches one module and names the source of the scalars."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe

    def say(self, source: str, values: dict[str, Any], step: Any | None) -> None:
        """Write those of `values` that are numbers."""
        page = self._probe.trainer_page()
        if page is None:
            return
        found = {str(name)[:100]: number for name, value in values.items() if (number := number_of(value)) is not None}
        if found:
            page.say(kind="scalars", source=source, values=found, step=number_of(step))

    def _after(self, owner: Any, method: str, source: str, take: Callable[..., Any]) -> None:
        """Call `take` with the arguments of ``owner.method`` after it; it returns (values, step) or None."""
        original = getattr(owner, method, None)
        if original is None:
            return
        probe = self._probe

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            result = original(*args, **kwargs)
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

        self._after(module.SummaryWriter, "add_scalar", "tensorboard", take)

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
            return {**(ordered_dict or {}), **values}, None

        self._after(module.tqdm, "set_postfix", "tqdm", take)

    def keras(self, module: Any) -> None:
        """``keras.src.callbacks.callback_list``: logs at the end of batches and epochs."""
        kind = module.CallbackList
        self._after(kind, "on_epoch_end", "keras", lambda _list, epoch, logs=None: (logs or {}, epoch))


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
