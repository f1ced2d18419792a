"""Stacks of all threads of a run's processes, on request."""
