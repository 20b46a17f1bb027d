"""Merging models: recipe.py reads the recipe, methods.py has the equations, engine.py merges."""
