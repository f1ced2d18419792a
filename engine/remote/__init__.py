"""Runs on other machines, read through the user's ``ssh`` without gputrain-tui being installed there."""
