#!/usr/bin/env bash
# Hugging Face datasets: a shuffled iterable dataset that resumes from its state loses what was in its buffer (as documented),
# and can also give a sample twice.
set -euo pipefail
source "$(dirname "$0")/common.bash"

finding_venv datasets==5.2.0
finding_python <<'PY'
from datasets import Dataset, IterableDataset
from finding import report


def stream() -> IterableDataset:
    return Dataset.from_dict({"a": list(range(12))}).to_iterable_dataset(num_shards=3).shuffle(seed=0, buffer_size=4)


seen = {}
for taken in (2, 5):
    first = stream()
    samples = iter(first)
    before = [next(samples)["a"] for _ in range(taken)]
    resumed = stream()
    resumed.load_state_dict(first.state_dict())
    seen[taken] = (before, [row["a"] for row in resumed])
repeated = {taken: sorted(set(a) & set(b)) for taken, (a, b) in seen.items()}
report(
    "no sample comes twice in an epoch",
    f"samples taken: (before, after): {seen}; twice: {repeated}",
    repeated[2] == [] and repeated[5] != [],
)
PY
