"""Hooks of packages that train, log or show progress with torch, or with Keras without it."""
