"""The terminal side: command line, store of a run's events, screens. Imports Textual, never torch."""
