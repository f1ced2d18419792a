"""Loggers for TensorBoard, W&B, MLflow and Trackio: each a separate process that follows the record of a run."""
