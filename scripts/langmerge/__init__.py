"""langmerge: merge a language model's weights into its instructed siblings, and measure what each
merge gains and loses.

A stage imports its own package and these shared modules: errors, files, yamls, model, measures,
semantics. Nothing that a dry run imports loads torch.
"""

VERSION = "0.2.0"
