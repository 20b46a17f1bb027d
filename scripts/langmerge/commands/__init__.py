"""The subcommands of `langmerge`: each module has a docstring (its --help), `add_arguments(parser)`
and `run(options)`.
"""
