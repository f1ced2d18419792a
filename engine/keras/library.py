"""Imports TensorFlow and Keras after setting the environment variables they need.

They are untyped: everything from them is Any, and is used only in this package.
"""

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "tensorflow"
# Hides a dozen lines about the build at the start of each log.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import tensorflow as tf

__all__ = ["framework", "keras", "tf"]


def framework() -> str:
    """Names and versions, for display."""
    return f"TensorFlow {tf.__version__}, Keras {keras.__version__}"
