"""Loggers for other tools' pages: TensorBoard and W&B, each a process of its own that follows the record of a run."""
