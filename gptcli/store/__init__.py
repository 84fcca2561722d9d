"""What is kept in SQLite: conversations, and the log of what other commands were asked."""
