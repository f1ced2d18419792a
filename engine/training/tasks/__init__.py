"""What can be learned: targets, loss and metrics, one module for each kind of task."""
