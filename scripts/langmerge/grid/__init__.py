"""The grid: configuration files -> the models of a run, their recipes, tasks, paths, names of
results, and jobs.

From the bottom up: folders and schema; config, what files say; data, sources, models; layout, every
path; recipes, tasks, hub; identity, what a result's name depends on; reports; jobs; checks, what is
refused; grid, which builds all of it. A module imports only those before it. Nothing here loads
torch, pandas or matplotlib: every dry run and every Slurm job pays for what this imports.
"""
