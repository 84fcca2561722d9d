"""Readers of what gptcli works on."""
