"""Evaluation with lm-eval: `harness` runs tasks on one model.

`lookup` finds the tasks, `backends` loads the model, `scores` counts what it answered. `units`,
`sealed` and `taskfiles` are light: the grid reads them too.
"""
