"""Passes over a tensor, which find what a method must know of it before it is merged."""
