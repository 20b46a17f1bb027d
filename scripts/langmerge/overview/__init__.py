"""Looking at a run from outside: what it will take (`langmerge plan`), and how far it is
(`langmerge status`).
"""
