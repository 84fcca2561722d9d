"""How an instruction and the material it is about become one prompt.

With a chat template: instruction first, then the material, each document under its name. Without
one (a base model goes on with what it reads last): material first, then the text to go on from.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from gptcli.engine.api import Prompt
from gptcli.messages import Conversation, Message


@dataclass(frozen=True, slots=True)
class Document:
    """A text that the prompt is about; `name` is empty for stdin."""

    text: str
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptParts:
    """What the user gave: an instruction, material, a system prompt."""

    instruction: str = ""
    documents: tuple[Document, ...] = ()
    system: str = ""

    @property
    def material(self) -> str:
        """All documents as one text, with their names when there are several."""
        if len(self.documents) == 1:
            return self.documents[0].text
        return "\n\n".join(f"### {part.name or 'stdin'}\n\n{part.text}" for part in self.documents)

    def with_material(self, text: str) -> PromptParts:
        return replace(self, documents=(Document(text),) if text else ())

    def with_instruction(self, text: str) -> PromptParts:
        return replace(self, instruction=text)


def compose(parts: PromptParts, *, as_chat: bool) -> Prompt:
    """Return the prompt: a conversation, or with `as_chat=False` text to go on from."""
    if as_chat:
        user = _joined(parts.instruction, parts.material)
        system = (Message("system", parts.system),) if parts.system else ()
        return Conversation((*system, Message("user", user)))
    return _joined(parts.system, parts.material, parts.instruction)


def _joined(*texts: str) -> str:
    present = [text for text in texts if text]
    # Blank lines between parts; what a part ends with itself is kept.
    return "\n\n".join([*(text.rstrip("\n") for text in present[:-1]), *present[-1:]])
