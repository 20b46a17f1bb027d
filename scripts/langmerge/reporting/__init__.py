"""Tables and figures from scores.csv, the one tidy file of scores."""
