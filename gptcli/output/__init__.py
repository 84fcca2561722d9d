"""Everything that is written to the terminal or a pipe. Only this package imports rich."""
