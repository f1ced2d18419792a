"""The images that the recipe demo trains on: drawn on this machine, once."""
