"""`gptcli models`: the weights on this machine, and on the Hub."""
