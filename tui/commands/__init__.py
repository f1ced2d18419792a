"""One module a command of `gputrain-tui`, each with the function that runs it."""
