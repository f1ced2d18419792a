"""A training script of the user's own, started and watched as a run: its process, its pages, its events."""
