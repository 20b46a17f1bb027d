"""Merging models: recipe.py reads what to do, methods.py holds the equations, engine.py streams the tensors through them."""
