"""Reddit threads as JSON lines: `thread_id, source, prompt, responses[{text}]`.

Threads and responses may also have `author` and `created`, responses `score`.
"""

from dataclasses import replace
from typing import ClassVar

from persona_rm.io.json_rows import JsonRow
from persona_rm.sources.base import OnBad
from persona_rm.sources.fields import author, moment, need_ident
from persona_rm.sources.json_threads import LinesSource, ResponseKeys, responses
from persona_rm.types import Thread


class RedditSource(LinesSource):
    """The raw material of AlignX (paper, 4.1): a post and the comments under it."""

    name: ClassVar[str] = "reddit"

    def thread(self, row: JsonRow, on_bad: OnBad) -> Thread:
        """One row; `source` is the subreddit."""
        id_, source, prompt = need_ident(row, "thread_id"), row.text("source"), row.text("prompt")
        asker, created = author(row, "author"), moment(row, "created")
        given = responses(row, ResponseKeys(), on_bad)
        comments = tuple(replace(comment, id=f"{id_}/{number}") for number, comment in given)
        return Thread(id_, source, prompt, comments, asker, created)
