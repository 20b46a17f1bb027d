"""Cells that are merged in the memory of the engine that evaluates them, one after another."""
