"""The command line: one module a command, each with `SUMMARY`, `add_arguments(parser)` and `run(args) -> exit code`.

A command's module imports nothing heavy at its top, so that `gnnrl --help` answers at once; `run` imports what it
needs.
"""
