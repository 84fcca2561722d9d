"""Opens the log for a command, and says once that there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gptcli import paths
from gptcli.errors import StorageError
from gptcli.output.console import Output

if TYPE_CHECKING:
    from gptcli.store.conversations import Conversations


def open_log(params: dict[str, Any], output: Output) -> Conversations | None:
    """Return the log that a command's options ask for; None with --no-log, or where it cannot be kept.

    That is a warning: no command fails because it cannot be logged.
    """
    if params["no_log"]:
        return None
    from gptcli.store.conversations import Conversations

    try:
        log = Conversations(paths.logs_file())
        for notice in log.notices:
            output.warning(notice)
        if not output.quiet and log.is_first("told of the log"):
            output.status(
                f"what is asked and answered is kept in {paths.logs_file()}; gptcli logs off stops that"
            )
    except StorageError as error:
        output.warning(f"this is not logged: {error.message}")
        return None
    return log
