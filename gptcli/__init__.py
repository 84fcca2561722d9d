"""gptcli: language models on your own machine, from the command line."""

__version__ = "0.1.0"
