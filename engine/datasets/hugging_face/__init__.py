"""Data that Hugging Face's `datasets` has prepared: found by folder or name. Imports neither torch nor `datasets`."""
