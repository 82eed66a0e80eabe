"""Stack Exchange questions as JSON lines, bodies in HTML as in the public dumps.

`thread_id, source, title, prompt_html, author, created, responses[{text_html, author, score, created}]`
"""

from dataclasses import replace
from typing import ClassVar

from persona_rm.io.json_rows import JsonRow
from persona_rm.sources.html_text import to_text
from persona_rm.sources.json_threads import LinesSource, responses
from persona_rm.types import Thread


class StackExchangeSource(LinesSource):
    """A question and its answers. Authors are known, so users have histories; votes are the scores."""

    name: ClassVar[str] = "stackexchange"

    def thread(self, row: JsonRow) -> Thread:
        """One row. The prompt is the title over the body; tags and the accepted mark have no field and stay behind."""
        thread_id = row.text("thread_id")
        comments = responses(row, thread_id, "text_html")
        return Thread(
            id=thread_id,
            source=row.text("source"),
            prompt=f"{row.text('title')}\n\n{to_text(row.text('prompt_html'))}".strip(),
            comments=tuple(replace(comment, text=to_text(comment.text)) for comment in comments),
            author=row.nullable("author", str),
            created=row.nullable("created", str),
        )
