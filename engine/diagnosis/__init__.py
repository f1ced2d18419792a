"""Diagnosis: causes of slow training and hints, as pure functions over windows of events."""
