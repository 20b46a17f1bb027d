"""Slurm: what a site asks for, where a job keeps merged checkpoints, and what a killed controller
left.

For workflow/rules/slurm.smk. Every Slurm job imports this package, so it loads no torch.
"""
