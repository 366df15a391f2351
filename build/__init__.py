"""Checkpoint + adapter -> artifact: fusion and quantisation, done once, ahead of time."""
