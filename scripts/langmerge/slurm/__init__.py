"""Slurm: what a site asks for, and what a killed controller left.

For workflow/rules/start.smk. Every Slurm job imports this package, so it loads no torch.
"""
