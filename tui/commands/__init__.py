"""The commands of `gputrain-tui`, one module each with a function `run`."""
