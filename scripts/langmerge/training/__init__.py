"""Training of language models: what a recipe may hold, and how JSON lines become training sequences."""
