"""Sections of `RunConfig` in files of their own."""
