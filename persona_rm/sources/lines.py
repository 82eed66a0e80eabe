"""What sources that are one file of JSON rows share: the path, the limit, the quarantine, the fingerprint."""

import hashlib
from abc import abstractmethod
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import ClassVar

from pydantic import PositiveInt

from persona_rm.config import Config
from persona_rm.errors import DataError
from persona_rm.rows import Row, content_hash, need_file, read_rows
from persona_rm.sources.base import OnBad, Source
from persona_rm.types import Comment, Thread


class LinesConfig(Config):
    """`path`: JSON lines (or one array), .gz or not. `limit`: the first so many threads only."""

    path: str
    limit: PositiveInt | None = None


class LinesSource(Source):
    """One thread per row. A member turns a row into a `Thread`."""

    Config: ClassVar[type[Config]] = LinesConfig

    def threads(self, on_bad: OnBad) -> Iterator[Thread]:
        """Every thread, in the order of the file. A missing or empty file raises before the first."""
        return islice(self._threads(need_file(Path(self.config.path)), on_bad), self.config.limit)

    def _threads(self, path: Path, on_bad: OnBad) -> Iterator[Thread]:
        for row in read_rows(path, on_bad):
            try:
                thread = self.thread(row)
            except DataError as error:
                on_bad(error)
                continue
            yield thread

    @abstractmethod
    def thread(self, row: Row) -> Thread:
        """The thread of a row. Raises `DataError` with file, row and key."""

    def fingerprint(self) -> str:
        """The sha256 of the config and of the file's content."""
        content = content_hash(Path(self.config.path))
        return hashlib.sha256(f"{self.config.model_dump_json()} {content}".encode()).hexdigest()


def responses(row: Row, thread_id: str, text_key: str) -> tuple[Comment, ...]:
    """The comments of a row, numbered within their thread. Raises for a thread without any."""
    items = row.children("responses")
    if not items:
        raise row.error("the thread is empty: it has no responses", "responses")
    return tuple(_comment(item, f"{thread_id}/{number}", text_key) for number, item in enumerate(items, start=1))


def _comment(item: Row, id_: str, text_key: str) -> Comment:
    return Comment(
        id=id_,
        text=item.text(text_key),
        author=item.nullable("author", str),
        score=item.nullable("score", int),
        created=item.nullable("created", str),
    )
