"""TensorFlow and Keras, imported with what must be in the environment before they are.

Everything of theirs is untyped: it comes from here as Any, and stays within this folder.
"""

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "tensorflow"
# Else each run's log begins with a dozen lines on what the build can do.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import tensorflow as tf

__all__ = ["framework", "keras", "tf"]


def framework() -> str:
    """Name and versions for a person."""
    return f"TensorFlow {tf.__version__}, Keras {keras.__version__}"
