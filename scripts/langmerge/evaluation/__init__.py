"""Evaluation with lm-eval: `harness` runs tasks on one model; `lookup` finds them, `backends` loads the model, `scores` counts; `ifeval` checks instructions."""

import os

# Compute nodes have no network; every model and data set is a local file by now (DESIGN, invariant 5).
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
# lm-eval would start a pool of processes for each bootstrap; ours are small.
os.environ.setdefault("DISABLE_MULTIPROC", "1")
