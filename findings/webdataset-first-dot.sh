#!/usr/bin/env bash
# WebDataset splits names at the first dot: the photographs cat.0.jpg, cat.1.jpg ... of a well-known data set become one sample.
set -euo pipefail
source "$(dirname "$0")/common.bash"

finding_venv webdataset==1.0.2
finding_python <<'PY'
import io
import tarfile

import webdataset
from finding import report

with tarfile.open("shard.tar", "w") as shard:
    for name in ("cat.0.jpg", "cat.1.jpg", "cat.2.jpg", "dog.0.jpg"):
        member = tarfile.TarInfo(name)
        member.size = 1
        shard.addfile(member, io.BytesIO(b"x"))
samples = {row["__key__"]: sorted(key for key in row if not key.startswith("_")) for row in webdataset.WebDataset("shard.tar", shardshuffle=False)}
report("four samples with a jpg each", samples, samples == {"cat": ["0.jpg", "1.jpg", "2.jpg"], "dog": ["0.jpg"]})
PY
