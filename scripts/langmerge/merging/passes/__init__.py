"""Passes over a tensor before it is merged: what a method must know of the whole tensor, found chunk by chunk."""
