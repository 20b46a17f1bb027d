"""What prefetch.py is made of: the repositories that a run wants, and how they come from a hub into the run's cache."""
