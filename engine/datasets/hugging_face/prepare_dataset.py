"""Child process (``python -m … NAME CONFIG``) that prepares a data set with Hugging Face's `datasets` in its cache."""

from __future__ import annotations

import sys

from gputrain.engine.processes import orphans


def prepare(name: str, config: str) -> None:
    """Download and prepare all splits, as `load_dataset` does. Raises what `datasets` raises."""
    import datasets

    datasets.disable_progress_bars()
    datasets.load_dataset_builder(name, config or None).download_and_prepare()


def main() -> int:
    """Exit code 0, or 1 with the reason as the last line."""
    orphans.die_with_parent()
    try:
        prepare(*sys.argv[1:3])
    except Exception as error:  # noqa: BLE001 - of any kind: the network's, the server's, the data's
        print(f"{type(error).__name__}: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
