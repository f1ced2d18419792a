"""Loggers for TensorBoard and W&B: each a separate process that follows the record of a run."""
