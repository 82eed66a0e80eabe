"""What a policy's tokenizer says about chats: its template, its control tokens, and prompts that are rendered already.

Nothing here is a list of known models. Control tokens are the tokenizer's special tokens and those added tokens that
its chat template writes. The form of a rendered prompt is learned by rendering conversations of marked texts.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any

from persona_rm.errors import DataError, RecipeError
from persona_rm.prompts.chat_messages import as_json, check_turns
from persona_rm.types import Message, Messages, Prompt

THINK, END_THINK = "<think>", "</think>"
_MARKS = {"system": "qzSYSTEMzq", "user": "qzUSERzq", "assistant": "qzASSISTANTzq", "last": "qzLASTzq"}
"""Texts whose places in a rendered conversation show what the template writes around each turn."""
_CLOCK = "strftime_now"
"""The function that transformers gives to templates, by which some write today's date (Llama 3.1 and later do)."""
_DATE = "(?P<date{}>.{{1,60}}?)"
"""A date in a rendered prompt: one line, in any form, because the one who rendered it may have set it."""
Dates = Mapping[str, str]
"""What a template writes for each format of a date that it asks for."""


class ChatTemplate:
    """The chat side of one tokenizer, which `load` gives at the first use."""

    def __init__(self, load: Callable[[], Any]) -> None:
        self._load = load

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer (transformers)."""
        return self._load()

    @property
    def present(self) -> bool:
        """True if the tokenizer has a chat template."""
        return bool(getattr(self.tokenizer, "chat_template", None))

    def render(self, messages: Messages) -> str:
        """The conversation up to the response, by the template. It holds the tokenizer's first token if the template
        writes it, so it is encoded without special tokens.

        A template that has no system turn (some refuse one, some drop it) gets its text above the first user turn.
        Raises `RecipeError` if there is no template, or if it refuses the conversation.
        """
        if not self.present:
            name = getattr(self.tokenizer, "name_or_path", "")
            raise RecipeError(f"the tokenizer of {name} has no chat template: use chat none or llama3")
        if messages[0].role == "system" and not self._takes_system:
            first = Message("user", f"{messages[0].content}\n\n{messages[1].content}")
            messages = (first, *messages[2:])
        return self._apply(messages)

    def escape(self, text: str) -> str:
        """The text with a space in every control token that it spells, so that words of a user stay words: "</s>"
        becomes "< /s>". The marks of a model's thinking stay."""
        return self._control.sub(lambda match: f"{match[0][0]} {match[0][1:]}", text) if self._control else text

    def unwrap(self, prompt: Prompt) -> Prompt:
        """The messages of a prompt that was rendered by this template already; any other prompt as it is.

        If the template writes the date, a prompt may have been rendered on any day. Raises `DataError` for a text that
        begins as a rendered prompt and has a user's turn, but is not what the template gives for any messages: to
        wrap it once more would put control tokens inside a user's turn.
        """
        if not isinstance(prompt, str) or not self.present or self._turns is None:
            return prompt
        dates = self._dates_in(prompt)
        turns = self._turns.on(self._marked(dates))
        messages = self._parsed(prompt, turns, dates)
        if messages is not None:
            return messages
        if turns.resembles(prompt, self._control):
            raise DataError(
                "a prompt begins as one that was rendered by the tokenizer's chat template, and it is not what this "
                "template gives for its turns. Was it rendered by another template? Give the bare prompt, in the data "
                "set or under `prompt` in the label"
            )
        return prompt

    def split_end(self, text: str) -> tuple[str, bool]:
        """A decoded response without the special tokens at its end and the white space around them; whether there was
        one. Without one the text is unchanged."""
        kept, ended = len(text), False
        while token := self._special_at_end(text, end := len(text[:kept].rstrip())):
            kept, ended = len(text[: end - len(token)].rstrip()), True
        return text[:kept], ended

    def response(self, ids: Sequence[int]) -> str:
        """The text of generated ids without special tokens. Marks of thinking stay, also if they are special."""
        tokenizer = self.tokenizer
        thinking = {tokenizer.convert_tokens_to_ids(mark) for mark in (THINK, END_THINK)}
        hidden = set(tokenizer.all_special_ids) - thinking
        return str(tokenizer.decode([i for i in ids if i not in hidden], skip_special_tokens=False))

    @cached_property
    def opens_thinking(self) -> bool:
        """True if the template ends a prompt with the mark that opens the model's thinking, so that no response has
        it."""
        return self.present and self._turns is not None and self._turns.close.rstrip().endswith(THINK)

    def _apply(self, messages: Messages, clock: Callable[[str], str] | None = None) -> str:
        """The rendered conversation. `clock` gives the date in a format, in place of today's."""
        from jinja2 import TemplateError

        # A variable of the template comes before a function of the same name.
        given: dict[str, Any] = {_CLOCK: clock} if clock is not None and self._dated else {}
        try:
            rendered = self.tokenizer.apply_chat_template(
                as_json(messages), tokenize=False, add_generation_prompt=True, **given
            )
        except TemplateError as error:
            roles = ", ".join(message.role for message in messages)
            raise RecipeError(f"the chat template refuses a conversation of {roles}: {error}") from error
        return str(rendered)

    @cached_property
    def _dated(self) -> bool:
        """Whether the template may write the date."""
        return _CLOCK in str(self.tokenizer.chat_template)

    @cached_property
    def _clock(self) -> "_MarkedClock | None":
        """Marks in place of dates; None for a template that writes no date, or changes what it is given as one."""
        if not self._dated:
            return None
        clock, messages = _MarkedClock({}), (Message("user", _MARKS["last"]),)
        marked = _Turns(self._apply(messages, clock), "", None, None)
        today = {mark: _today(form) for form, mark in clock.marks.items()}
        return clock if marked.on(today).open == self._apply(messages) else None

    def _marked(self, dates: Dates) -> dict[str, str]:
        """Mark -> date."""
        return {mark: dates[form] for form, mark in self._clock.marks.items()} if self._clock else {}

    def _dates_in(self, text: str) -> Dates:
        """The dates that a rendered prompt holds where the template writes them; today's if it holds none."""
        turns, marks = self._turns, self._clock.marks if self._clock else {}
        today = {form: _today(form) for form in marks}
        for opening, _ in turns.longest_first if turns and marks else ():
            pattern = re.escape(opening)
            for place, mark in enumerate(marks.values()):
                pattern = pattern.replace(mark, _DATE.format(place), 1).replace(mark, f"(?P=date{place})")
            if match := re.match(pattern, text):
                read = {f"date{place}": form for place, form in enumerate(marks)}
                return today | {read[name]: value for name, value in match.groupdict().items()}
        return today

    @cached_property
    def _takes_system(self) -> bool:
        """Whether the template writes a system turn."""
        system, user = _MARKS["system"], _MARKS["user"]
        try:
            return system in self._apply((Message("system", system), Message("user", user)))
        except RecipeError:
            return False

    @cached_property
    def _special(self) -> tuple[str, ...]:
        """The special tokens, the longest first."""
        return tuple(sorted(map(str, self.tokenizer.all_special_tokens), key=lambda token: (-len(token), token)))

    @cached_property
    def _control(self) -> re.Pattern[str] | None:
        """Every token that has a meaning for the model and not for a reader."""
        template = str(getattr(self.tokenizer, "chat_template", None) or "")
        # Added tokens may be words of a domain; those that the template writes structure a conversation.
        added = {token for token in self.tokenizer.get_added_vocab() if token in template and not token.isalnum()}
        tokens = ({*self._special, *added}) - {THINK, END_THINK}
        # A token of one letter cannot be split.
        longest_first = sorted((token for token in tokens if len(token) > 1), key=lambda token: (-len(token), token))
        return re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def _special_at_end(self, text: str, end: int) -> str:
        return next((token for token in self._special if token and text.endswith(token, 0, end)), "")

    @cached_property
    def _turns(self) -> "_Turns | None":
        """What the template writes around turns, with marks in place of dates; None for a template that changes the
        texts of turns."""
        user, last = Message("user", _MARKS["user"]), Message("user", _MARKS["last"])
        one = _pieces(self._apply((last,), self._clock), "last")
        if one is None or not any(one):
            return None
        system = more = None
        if self._takes_system:
            system = _pieces(self._apply((Message("system", _MARKS["system"]), last), self._clock), "system", "last")
        try:
            conversation = (user, Message("assistant", _MARKS["assistant"]), last)
            more = _pieces(self._apply(conversation, self._clock), "user", "assistant", "last")
        except RecipeError:  # a template for one turn
            more = None
        return _Turns(one[0], one[1], system[:2] if system else None, more[1:3] if more else None)

    def _parsed(self, text: str, turns: "_Turns", dates: Dates) -> Messages | None:
        """The messages for which the template gives exactly this text on a day of these dates."""
        if not text.endswith(turns.close):
            return None
        body = text[: len(text) - len(turns.close)]
        for opening, role in turns.longest_first:
            if body.startswith(opening):
                messages = turns.split(body[len(opening) :], role)
                try:
                    check_turns(messages)
                    if self._apply(messages, lambda form: dates.get(form) or _today(form)) == text:
                        return messages
                except (DataError, RecipeError):
                    continue
        return None


@dataclass(frozen=True, slots=True)
class _MarkedClock:
    """Stands for the function that gives templates the date: a mark for each format, so that its places show."""

    marks: dict[str, str]
    """Format -> mark. Filled by the calls of the template."""

    def __call__(self, form: str) -> str:
        return self.marks.setdefault(form, f"qzDATE{len(self.marks)}zq")


@dataclass(frozen=True, slots=True)
class _Turns:
    """What a template writes: `open` before the first user turn, `close` after the last one, `system`: before and
    after a system text, `between`: from a user turn to an assistant's, and back."""

    open: str
    close: str
    system: tuple[str, ...] | None
    between: tuple[str, ...] | None

    @property
    def longest_first(self) -> list[tuple[str, str]]:
        """What a rendered prompt begins with, and the role of the text behind it. The longer one first: a template
        with a system text of its own begins as one with a given system text."""
        openings = [(self.open, "user"), *([(self.system[0], "system")] if self.system else [])]
        return sorted(openings, reverse=True, key=lambda one: len(one[0]))

    def on(self, dates: Mapping[str, str]) -> "_Turns":
        """The same with texts in place of marks."""

        def dated(text: str) -> str:
            for mark, date in dates.items():
                text = text.replace(mark, date)
            return text

        system, between = (tuple(map(dated, texts)) if texts else None for texts in (self.system, self.between))
        return replace(self, open=dated(self.open), close=dated(self.close), system=system, between=between)

    def split(self, body: str, role: str) -> Messages:
        """The turns of a conversation whose first text belongs to `role`."""
        messages = []
        if role == "system" and self.system:
            text, _, body = body.partition(self.system[1])
            messages.append(Message("system", text))
        role, rest = "user", body
        while self.between and (mark := self.between[role == "assistant"]) and mark in rest:
            text, _, rest = rest.partition(mark)
            messages.append(Message(role, text))
            role = "assistant" if role == "user" else "user"
        return (*messages, Message(role, rest))

    def resembles(self, text: str, control: re.Pattern[str] | None) -> bool:
        """Whether a text begins with the control token that rendered prompts begin with, and has a user's turn."""
        first = control.match(self.open) if control else None
        return first is not None and text.lstrip().startswith(first[0]) and self._user_head.strip() in text

    @property
    def _user_head(self) -> str:
        """What stands before every user turn: the common end of what stands before the first and before later ones."""
        others = [mark for mark in (self.between and self.between[1], self.system and self.system[1]) if mark]
        head = self.open
        while not all(mark.endswith(head) for mark in others):
            head = head[1:]
        return head


def _today(form: str) -> str:
    """The date as transformers gives it to a template."""
    return datetime.now().strftime(form)


def _pieces(rendered: str, *names: str) -> tuple[str, ...] | None:
    """What stands before, between and after the marks of a rendered conversation; None if a mark is not there once."""
    pieces, rest = [], rendered
    for name in names:
        if rendered.count(_MARKS[name]) != 1 or _MARKS[name] not in rest:
            return None
        before, _, rest = rest.partition(_MARKS[name])
        pieces.append(before)
    return (*pieces, rest)
