"""Electrostatics of periodic boxes and of slabs that repeat in x and y only."""
