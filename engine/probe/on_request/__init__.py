"""What a person asks of the running process: the stacks of its threads, a trace of some steps."""
