"""Training of language models: recipes, packing of text into sequences, and the training loop."""
