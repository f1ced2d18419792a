"""Commands that ask a running process what it does: its stacks, a trace of some steps."""
