"""Names that the workflow and its jobs share."""

CHECK = "check-"
"""How the names of folders begin in which a merge is written to be compared, beside the batch's
file. Each is removed at once; those of killed jobs are removed when the next run starts.
"""
