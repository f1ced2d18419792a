"""What a user asks of a running training: the stacks of its threads, a trace of its next steps."""
