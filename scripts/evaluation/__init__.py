"""Evaluation with lm-eval: `harness` runs tasks on one model, `ifeval` checks instruction following."""
