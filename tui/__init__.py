"""Command line, run store and screens. Imports Textual, never torch."""
