"""Runs on other machines, read through the user's own ``ssh``: nothing of ours has to be installed there."""
