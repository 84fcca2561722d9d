"""Chat: a session without a terminal, slash commands, and the REPL."""
