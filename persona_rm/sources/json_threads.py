"""What sources of JSON rows with one thread each share: the quarantine, and the responses of a row."""

from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path

from persona_rm.errors import DataError
from persona_rm.io.json_rows import JsonRow
from persona_rm.sources.base import OnBad
from persona_rm.sources.inputs import FileSource, read_files
from persona_rm.types import Comment, Thread


class LinesSource(FileSource):
    """One thread per row, in the order of the files. A member turns a row into a `Thread`."""

    def _threads(self, files: list[Path], on_bad: OnBad) -> Iterator[Thread]:
        for row in read_files(files, on_bad):
            try:
                thread = self.thread(row)
            except DataError as error:
                on_bad(error)
                continue
            yield thread

    @abstractmethod
    def thread(self, row: JsonRow) -> Thread:
        """The thread of a row. Raises `DataError` with file, row and key."""


def responses(row: JsonRow, thread_id: str, text_key: str) -> tuple[Comment, ...]:
    """The comments of a row, numbered within their thread. Raises for a thread without any."""
    items = row.children("responses")
    if not items:
        raise row.error("the thread is empty: it has no responses", "responses")
    return tuple(_comment(item, f"{thread_id}/{number}", text_key) for number, item in enumerate(items, start=1))


def _comment(item: JsonRow, id_: str, text_key: str) -> Comment:
    return Comment(
        id=id_,
        text=item.text(text_key),
        author=item.nullable("author", str),
        score=item.nullable("score", int),
        created=item.nullable("created", str),
    )
