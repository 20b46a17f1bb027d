"""What a result means: a number per stage, to be raised when its code changes what its results
mean.

These numbers are part of every name that a result is found by: sealed results, the files of their
parts, merged and trained models, the judges' verdicts (grid/identity.py, evaluation/units.py). So
results of older code are not found and are made again. That of `derive`, what is computed from kept
answers, is in the names of such files only: they are made again without a model. That of `search`
is in the names of searches' records: a search is made again from the answers that it has kept.
"""

from __future__ import annotations

SEMANTICS = {"text": 1, "corpus": 1, "train": 2, "merge": 6, "evaluate": 4, "judge": 1, "derive": 1, "search": 2}
