#!/usr/bin/env bash
# torch.onnx.export puts the weights in a second file named after the first. A model kept under another name still reads that
# file, and a later export under the old name changes what it predicts.
set -euo pipefail
source "$(dirname "$0")/common.bash"

finding_venv torch==2.14.1 onnx==1.23.2 onnxscript==0.7.2 onnxruntime==1.32.0 numpy==2.4.6
finding_python <<'PY'
import contextlib
import io
import os

import numpy as np
import onnxruntime
import torch
from finding import report


def export(seed: int) -> None:
    torch.manual_seed(seed)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        torch.onnx.export(torch.nn.Linear(64, 64), (torch.ones(1, 64),), "model.onnx", input_names=["x"])


def predict() -> np.ndarray:
    session = onnxruntime.InferenceSession("kept.onnx")
    return session.run(None, {"x": np.ones((1, 64), np.float32)})[0]


export(seed=0)
os.rename("model.onnx", "kept.onnx")
before = predict()
export(seed=1)
change = float(abs(predict() - before).max())
report(
    "kept.onnx predicts what it predicted, or misses its weights",
    f"files {sorted(name for name in os.listdir() if '.onnx' in name)}; kept.onnx's outputs changed by up to {change:.2f}",
    change > 0.1,
)
PY
