"""What sources of JSON rows with one thread each share: the quarantine, and the responses of a row.

What cannot be read is the smallest thing that is bad: a response, or the whole row if its post or all its responses
are.
"""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from persona_rm.errors import DataError
from persona_rm.io.json_rows import JsonRow, report_parts
from persona_rm.sources.base import OnBad
from persona_rm.sources.fields import author, moment, whole
from persona_rm.sources.inputs import FileSource, read_files
from persona_rm.types import Comment, Thread


@dataclass(frozen=True, slots=True)
class ResponseKeys:
    """Which key holds what of a response."""

    responses: str = "responses"
    text: str = "text"
    author: str = "author"
    score: str = "score"
    created: str = "created"


class LinesSource(FileSource):
    """One thread per row, in the order of the files. A member turns a row into a `Thread`."""

    def _threads(self, files: list[Path], on_bad: OnBad) -> Iterator[Thread]:
        for row in read_files(files, on_bad):
            try:
                thread = self.thread(row, on_bad)
            except DataError as error:
                on_bad(error)
                continue
            yield thread

    @abstractmethod
    def thread(self, row: JsonRow, on_bad: OnBad) -> Thread:
        """The thread of a row. A bad response goes to `on_bad`; raises `DataError` with file, row and key if nothing
        of the row can be read."""


def responses(row: JsonRow, keys: ResponseKeys, on_bad: OnBad) -> list[tuple[int, Comment]]:
    """The responses of a row and their places, counted from 1; their ids are for the caller to give.

    A response is an object or a plain text. Raises `DataError` for a row without any, or without one that can be read.
    """
    items = row.required(keys.responses, list)
    if not items:
        raise row.error("the thread is empty: it has no responses", keys.responses)
    comments: list[tuple[int, Comment]] = []
    errors: list[DataError] = []
    for number, item in enumerate(items, start=1):
        try:
            # A response that is a plain text is read like an object that has nothing else.
            data = {keys.text: item} if isinstance(item, str) else item
            comments.append((number, comment_of(row.child(data, f"{keys.responses}[{number - 1}]"), keys)))
        except DataError as error:
            errors.append(error)
    report_parts(errors, on_bad, kept=bool(comments))
    return comments


def comment_of(item: JsonRow, keys: ResponseKeys) -> Comment:
    """A response without an id. Raises `DataError` with file, row and key."""
    return Comment("", item.text(keys.text), author(item, keys.author), whole(item, keys.score),
                   moment(item, keys.created))  # fmt: skip
