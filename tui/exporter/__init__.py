"""Figures of this machine and its live runs for Prometheus."""
