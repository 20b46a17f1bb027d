"""The best cell of a grid from a part of its evaluations, and what such a search is worth."""
