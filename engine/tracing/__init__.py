"""What a trace of torch's profiler shows, read from its JSON without torch."""
