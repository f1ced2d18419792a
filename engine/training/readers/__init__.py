"""Readers of data sets: what is on disk in each layout, as images with labels and the task that they are for."""
