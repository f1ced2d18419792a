#!/usr/bin/env bash
# tqdm.auto calls iter() twice on what it shows; a DataLoader then starts its workers twice and draws another order.
set -euo pipefail
source "$(dirname "$0")/common.bash"

finding_venv torch==2.14.1 tqdm==4.70.1
finding_python <<'PY'
import io

import torch
import tqdm
import tqdm.auto
from finding import report
from torch.utils.data import DataLoader


def order(wrap: object) -> list[int]:
    torch.manual_seed(0)
    return torch.cat(list(wrap(DataLoader(range(6), batch_size=2, shuffle=True), file=io.StringIO()))).tolist()


class Counted:
    calls = 0

    def __iter__(self) -> object:
        self.calls += 1
        return iter(range(3))


calls = []
for bar in (tqdm.tqdm, tqdm.auto.tqdm):
    counted = Counted()
    list(bar(counted, file=io.StringIO()))
    calls.append(counted.calls)
orders = [order(bar) for bar in (tqdm.tqdm, tqdm.auto.tqdm)]
report(
    "a progress bar asks once and changes nothing",
    f"calls of iter(): tqdm {calls[0]}, tqdm.auto {calls[1]}; order of one seed: {orders[0]}, {orders[1]}",
    calls == [1, 2] and orders[0] != orders[1],
)
PY
