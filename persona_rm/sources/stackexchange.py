"""Stack Exchange questions as JSON lines, bodies in HTML as in the public dumps.

`thread_id, source, title, prompt_html, author, created, responses[{text_html, author, score, created}]`
"""

from dataclasses import replace
from typing import ClassVar

from persona_rm.io.json_rows import JsonRow
from persona_rm.sources.base import OnBad
from persona_rm.sources.fields import author, moment, need_ident
from persona_rm.sources.html_text import to_text
from persona_rm.sources.json_threads import LinesSource, ResponseKeys, responses
from persona_rm.types import Thread

KEYS = ResponseKeys(text="text_html")


class StackExchangeSource(LinesSource):
    """A question and its answers. Authors are known, so users have histories; votes are the scores."""

    name: ClassVar[str] = "stackexchange"

    def thread(self, row: JsonRow, on_bad: OnBad) -> Thread:
        """One row. The prompt is the title over the body; tags and the accepted mark have no field and stay behind."""
        id_, source = need_ident(row, "thread_id"), row.text("source")
        prompt = f"{row.text('title')}\n\n{to_text(row.text('prompt_html'))}".strip()
        asker, created = author(row, "author"), moment(row, "created")
        given = responses(row, KEYS, on_bad)
        comments = (replace(comment, id=f"{id_}/{number}", text=to_text(comment.text)) for number, comment in given)
        return Thread(id_, source, prompt, tuple(comments), asker, created)
