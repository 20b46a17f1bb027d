"""Fetching what a run needs from a hub into the run's cache: repositories and downloads."""
