"""Runs on several machines over ssh: an agent on each of them, and the supervisor's side of it."""
