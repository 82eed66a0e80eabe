"""Reddit threads as JSON lines: `thread_id, source, prompt, responses[{text}]`.

Threads and responses may also have `author` and `created`, responses `score`.
"""

from typing import ClassVar

from persona_rm.io.json_rows import JsonRow
from persona_rm.sources.json_threads import LinesSource, responses
from persona_rm.types import Thread


class RedditSource(LinesSource):
    """The raw material of AlignX (paper, 4.1): a post and the comments under it."""

    name: ClassVar[str] = "reddit"

    def thread(self, row: JsonRow) -> Thread:
        """One row; `source` is the subreddit."""
        thread_id = row.text("thread_id")
        return Thread(
            id=thread_id,
            source=row.text("source"),
            prompt=row.text("prompt"),
            comments=responses(row, thread_id, "text"),
            author=row.nullable("author", str),
            created=row.nullable("created", str),
        )
