#!/usr/bin/env bash
# msgspec writes a NaN loss as null, which it then refuses to read as a float; and it knows no numpy.float64, a subclass of float.
set -euo pipefail
source "$(dirname "$0")/common.bash"

finding_venv msgspec==0.23.0 numpy==2.4.6
finding_python <<'PY'
import json

import msgspec
import numpy as np
from finding import report


class Step(msgspec.Struct):
    loss: float


written = msgspec.json.encode(Step(float("nan")))
try:
    read = str(msgspec.json.decode(written, type=Step))
except msgspec.ValidationError as error:
    read = f"ValidationError: {error}"
try:
    number = msgspec.json.encode(np.float64(0.5)).decode()
except TypeError as error:
    number = f"TypeError: {error}"
report(
    f"what is written can be read again; numpy.float64 is written as json does it: {json.dumps(np.float64(0.5))}",
    f"{written.decode()} -> {read}; numpy.float64: {number}",
    written == b'{"loss":null}' and read.startswith("ValidationError") and number.startswith("TypeError"),
)
PY
