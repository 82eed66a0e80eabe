"""A prompt format is a YAML file: `released`, `released_eval` (AlignX's code), `paper` (its appendix B.2), or yours.

    name: released
    chat: none                  # none: text only; llama3: header tokens; template: the tokenizer's own chat template
    system: {ica: ..., pba: ..., plain: ...}
    task: "***Task***\\n\\n{prompt}\\n\\n"
    ugc: {head: ..., item: "{number}. ... {prompt} ... {comment}"}

Fields in braces are filled in one pass, so braces in a user's text stay as they are. A persona without items, and
directions that are all neutral, render as `plain`, which is the prompt of an unknown user.

A prompt of several messages keeps its turns if `chat` is "template": earlier turns stay as they are, the user's part
goes into the last user turn with its content as {prompt}. The other values of `chat` have one user turn, so the
messages enter it as one text (`types.text_of`). The format's system text stands below the prompt's own one.

Control tokens of the tokenizer that a text of a user spells are split (`ChatTemplate.escape`), if the tokenizer is
known.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from persona_rm.config import Config
from persona_rm.errors import DataError, RecipeError, UnknownName
from persona_rm.io.text import FIELD, fill
from persona_rm.io.yaml_file import read_yaml
from persona_rm.prompts.chat_messages import check_turns
from persona_rm.prompts.chat_template import ChatTemplate
from persona_rm.types import Message, Messages, Persona, Prompt, text_of

Chat = Literal["none", "llama3", "template"]

PACKAGED = Path(__file__).parent
FIELDS = {
    "task": {"prompt"},
    "ugc.item": {"number", "prompt", "comment"},
    "pairs.item": {"number", "prompt", "chosen", "rejected"},
    "demo": {"demo"},
    "ica": {"task", "ugc", "pairs", "demo", "response"},
    "pba": {"task", "preferences", "response"},
    "plain": {"task", "response"},
}
"""The fields of each block: it must have all of them and no others. Blocks that are not named here have none."""
WRAPS: dict[Chat, str] = {
    "none": "{system}\n\n{user}",
    "llama3": "<|start_header_id|>system<|end_header_id|>\n\n{system}\n<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\n{user}<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>",
}


class Items(Config):
    """A list of behavioural items: a heading, then one block per item. It is empty if there is no item."""

    head: str
    item: str


class Systems(Config):
    """The system text of each kind of prompt."""

    ica: str
    pba: str
    plain: str


class FormatFile(Config):
    """A whole file."""

    name: str
    about: str = ""
    chat: Chat = "none"
    system: Systems
    task: str
    ugc: Items
    pairs: Items
    demo: str
    ica: str
    pba: str
    plain: str
    response: str


@dataclass(frozen=True, slots=True)
class PromptFormat:
    """Renders the three kinds of prompt. `template` is the chat side of the policy's tokenizer, needed by chat
    "template", and wherever control tokens in texts of users shall stay words."""

    text: FormatFile
    chat: Chat
    template: ChatTemplate | None = None

    def with_template(self, template: ChatTemplate | None) -> "PromptFormat":
        """The same format for this tokenizer."""
        return replace(self, template=template)

    def ica(self, persona: Persona, prompt: Prompt) -> str:
        """The prompt with the persona's items in the context (paper, eq. 1)."""
        return self.text_of_turns(self.ica_turns(persona, prompt))

    def pba(self, preferences: str, prompt: Prompt) -> str:
        """The prompt with the directions in words, as `PreferenceSpace.describe` writes them (paper, eq. 2)."""
        return self.text_of_turns(self.pba_turns(preferences, prompt))

    def plain(self, prompt: Prompt) -> str:
        """The prompt without a user: for unknown users, for the no-persona control and for `contrast`."""
        return self.text_of_turns(self.plain_turns(prompt))

    def ica_turns(self, persona: Persona, prompt: Prompt) -> Messages:
        """`ica` before it becomes text: the turns for a chat template, or a system and a user turn."""
        if not (persona.ugc or persona.pairs or persona.demo):
            return self.plain_turns(prompt)
        ugc = [{"prompt": item.prompt, "comment": item.comment} for item in persona.ugc]
        pairs = [{"prompt": p.prompt, "chosen": p.chosen, "rejected": p.rejected} for p in persona.pairs]
        blocks = {
            "ugc": self._items(self.text.ugc, ugc),
            "pairs": self._items(self.text.pairs, pairs),
            "demo": fill(self.text.demo, {"demo": self.escape(persona.demo)}) if persona.demo else "",
        }
        return self._turns(self.text.system.ica, self.text.ica, prompt, blocks)

    def pba_turns(self, preferences: str, prompt: Prompt) -> Messages:
        """`pba` before it becomes text."""
        if not preferences:
            return self.plain_turns(prompt)
        return self._turns(self.text.system.pba, self.text.pba, prompt, {"preferences": self.escape(preferences)})

    def plain_turns(self, prompt: Prompt) -> Messages:
        """`plain` before it becomes text."""
        return self._turns(self.text.system.plain, self.text.plain, prompt, {})

    def escape(self, text: str) -> str:
        """A text of a user or a response, whose control tokens stay words; unchanged if no tokenizer is known."""
        return text if self.template is None else self.template.escape(text)

    def _turns(self, system: str, body: str, prompt: Prompt, blocks: Mapping[str, str]) -> Messages:
        """The turns of the whole prompt, with escaped texts."""
        before, last = list[Message](), text_of(prompt)
        if not isinstance(prompt, str):
            check_turns(prompt)
            before = [turn._replace(content=self.escape(turn.content)) for turn in prompt[:-1]]
            last = prompt[-1].content if self.chat == "template" else last
        if before and before[0].role == "system":
            system = f"{before.pop(0).content}\n\n{system}"
        task = fill(self.text.task, {"prompt": self.escape(last)})
        user = fill(body, {**blocks, "task": task, "response": self.text.response})
        turns = before if self.chat == "template" else ()
        return (Message("system", system), *turns, Message("user", user))

    def text_of_turns(self, turns: Messages) -> str:
        """The text of a whole prompt from its turns. Raises `RecipeError` if it needs a chat template and has none."""
        if self.chat != "template":
            return fill(WRAPS[self.chat], {"system": turns[0].content, "user": turns[-1].content})
        if self.template is None:
            raise RecipeError("chat 'template' needs the policy's tokenizer: call with_template() first")
        return self.template.render(turns)

    def _items(self, block: Items, items: Sequence[Mapping[str, str]]) -> str:
        text = block.head if items else ""
        for number, item in enumerate(items, start=1):
            text += fill(block.item, {"number": str(number), **{key: self.escape(one) for key, one in item.items()}})
        return text


def load_prompts(name_or_path: str | Path = "released", chat: Chat | None = None) -> PromptFormat:
    """The format of a packaged name or of a YAML file. `chat` replaces the value in the file.

    Raises `UnknownName` if there is no such format, and `DataError` naming file and key if the file is malformed.
    """
    path = _find(str(name_or_path))
    text = _load(path, path.stat().st_mtime_ns)
    return PromptFormat(text, chat or text.chat)


def _find(name: str) -> Path:
    packaged = PACKAGED / f"{name}.yaml"
    if packaged.parent == PACKAGED and packaged.is_file():
        return packaged
    if Path(name).is_file():
        return Path(name).resolve()
    names = ", ".join(sorted(file.stem for file in PACKAGED.glob("*.yaml")))
    raise UnknownName(f"no prompt format {name!r}: it is neither a file nor one of: {names}")


@cache
def _load(path: Path, _changed: int) -> FormatFile:
    content: Any = read_yaml(path)
    if not isinstance(content, dict):
        raise DataError(f"a prompt format is a mapping, found {type(content).__name__}", file=path)
    try:
        text = FormatFile.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise DataError(f"{first['msg']}, found {first['input']!r}"[:300], file=path, key=key) from error
    _check_fields(text, path)
    return text


def _check_fields(text: FormatFile, path: Path) -> None:
    """Raises `DataError` if a block does not have exactly its fields: a misspelt field would stay in the prompt."""
    blocks = {key: getattr(text, key) for key in ("task", "demo", "ica", "pba", "plain")}
    blocks |= {"ugc.item": text.ugc.item, "pairs.item": text.pairs.item}
    for key, block in blocks.items():
        fields = set(FIELD.findall(block))
        if fields != FIELDS[key]:
            problem = f"has the fields {sorted(fields)}; it must have exactly {sorted(FIELDS[key])}"
            raise DataError(problem, file=path, key=key)
