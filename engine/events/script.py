"""What is learned about a training script of the user's own: its loader, its optimizer, the scalars that it logs."""

from __future__ import annotations

from gputrain.engine.events.envelope import Event


class LoaderFound(Event, frozen=True, tag="loader_found"):
    """The script began a pass over a DataLoader with gradients enabled."""

    file: str
    """File of the script in which the loader was made; empty: unknown."""
    line: int
    """Line in `file`; 0: unknown."""
    kind: str
    """Class of the loader, ``torch.utils.data.dataloader.DataLoader``."""
    passes: int
    """Passes over this loader so far, this one included."""
    num_workers: int
    """Worker processes; 0: the loop makes the batches itself."""
    prefetch_factor: int | None
    """Batches that each worker makes ahead; None without workers."""
    persistent_workers: bool
    """The workers stay for the next pass."""
    pin_memory: bool
    """Batches are copied to page-locked memory."""
    batch_size: int | None
    """None: the script gave a batch sampler, or no batching."""
    batches: int | None
    """Batches in a pass; None: the loader has no length."""
    order_kept: bool
    """The sampler draws all at its start: the order does not depend on the number of workers."""
    iterable: bool
    """The data set is an IterableDataset."""
    framework: str = ""
    """Package that made the loader, ``transformers``; empty: the script itself did."""
    started_twice: str = ""
    """What started the loader and read nothing, so that it was started again: ``tqdm.auto``, ``the script``."""


class ScriptModel(Event, frozen=True, tag="script_model"):
    """The script's first optimizer made its first update."""

    optimizer: str
    """Class of the optimizer."""
    parameters: int
    """Numbers that the optimizer trains."""
    device: str
    """Device of the first parameter: ``cpu``, ``cuda:0``."""
    dtype: str
    """Type of the first parameter; autocast does not show in it."""
    torch_version: str
    """Version of torch in the script's environment."""
    cuda_version: str
    """CUDA version that this torch was built for; empty: none."""
    trainer_pid: int
    """Process id of the process whose steps these are."""
    ranks: int = 1
    """Processes of the training (``WORLD_SIZE``)."""


class Scalars(Event, frozen=True, tag="scalars"):
    """Numbers that the script logged by a library of its own choice."""

    source: str
    """The library: tensorboard, wandb, mlflow, lightning, transformers, keras, tqdm, or report."""
    values: dict[str, float]
    """Name → value."""
    step: int | None = None
    """The step that the script named."""
