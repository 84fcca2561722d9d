"""Readers of what gptcli works on, and writers of what it translates."""
