"""Tables and figures of a run, from scores.csv, its answers and its anatomies; `layouts` lists
them.
"""
