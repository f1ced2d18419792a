"""The system check: what this machine has, what torch makes of it, and what would hold a run back."""
