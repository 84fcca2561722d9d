"""`gptcli` and `python -m gptcli`."""

import sys


def main() -> None:
    """Run the command line and exit with its status."""
    try:
        from gptcli.cli.app import run

        status = run(sys.argv[1:])
    except KeyboardInterrupt:  # also during the imports
        status = 130
    # Python kills itself at its end when an interruption once left a string that was executed, even
    # if it was handled since; classes are made so during the imports. Another string clears that.
    exec("")  # noqa: S102
    sys.exit(status)


if __name__ == "__main__":
    main()
