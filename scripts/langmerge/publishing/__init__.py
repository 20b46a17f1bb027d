"""From a cell of a finished run to a model that others can use: its folder, its card, its upload."""
