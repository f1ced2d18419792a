"""From figures to causes: pure functions over windows of events."""
