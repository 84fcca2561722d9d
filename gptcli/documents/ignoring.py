"""What .gitignore files leave out, as git reads them: those of a folder and of the folders above it.

https://git-scm.com/docs/gitignore; the patterns are read by the library pathspec.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from gptcli.documents.encodings import decode

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

GITIGNORE, REPOSITORY = ".gitignore", ".git"


@dataclass(frozen=True, slots=True)
class _Rules:
    folder: str  # absolute
    spec: GitIgnoreSpec


@dataclass(frozen=True, slots=True)
class Ignored:
    """The rules that hold in a folder. The innermost that says anything about a name decides."""

    rules: tuple[_Rules, ...] = ()  # the innermost first

    @classmethod
    def at(cls, folder: str) -> Self:
        """Return the rules in a folder that was named: its own and, in a repository, those above it.

        A folder that those above leave out was named all the same, and only its own rules hold.
        """
        path = Path(os.path.abspath(folder))  # noqa: PTH100  links are kept
        above = cls()
        if root := next((each for each in (path, *path.parents) if (each / REPOSITORY).exists()), None):
            steps = [each for each in reversed(path.parents) if each.is_relative_to(root)]
            for step in steps:
                above = above.below(str(step))
            parts = [each for each in (*steps, path) if each != root]
            if any(above.has(str(each), is_folder=True) for each in parts):
                above = cls()
        return above.below(folder)

    def below(self, folder: str) -> Self:
        """Return the rules in a folder within this one."""
        path = Path(os.path.abspath(folder), GITIGNORE)  # noqa: PTH100
        try:
            decoded = decode(path.read_bytes())
        except OSError:
            return self
        if decoded is None:
            return self
        from pathspec import GitIgnoreSpec

        try:
            spec = GitIgnoreSpec.from_lines(decoded.text.splitlines())
        except ValueError:  # a pattern that is none
            return self
        return type(self)((_Rules(str(path.parent), spec), *self.rules))

    def has(self, name: str, *, is_folder: bool) -> bool:
        """Tell whether the rules leave out a file or folder."""
        if not self.rules:
            return False
        path = os.path.abspath(name)  # noqa: PTH100
        for rules in self.rules:
            relative = os.path.relpath(path, rules.folder)
            if os.sep != "/":
                relative = relative.replace(os.sep, "/")
            found = rules.spec.check_file(relative + "/" if is_folder else relative).include
            if found is not None:
                return found
        return False
