"""What sources whose posts and replies are rows of their own share: the join, orphans, rows that come twice."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

from persona_rm.io.json_rows import JsonRow
from persona_rm.sources.base import OnBad
from persona_rm.sources.inputs import FileSource, read_files
from persona_rm.sources.join import Group, Placed, join
from persona_rm.types import Comment, Thread

POST, REPLY = "post", "reply"


class JoinedSource(FileSource):
    """Threads in the order of the hash of their ids, whatever the order of the files; comments by time, then id.

    A post without replies is a thread without comments. A reply without its post goes to `on_bad`, and so does the
    second row of one id.
    """

    id_key: ClassVar[str]
    parent_key: ClassVar[str]

    def _threads(self, files: list[Path], on_bad: OnBad) -> Iterator[Thread]:
        for group in join(self.rows(files, on_bad), self.place, self.config, on_bad):
            if thread := self._thread(group, on_bad):
                yield thread

    def rows(self, files: list[Path], on_bad: OnBad) -> Iterator[JsonRow]:
        """The raw rows of these files."""
        return read_files(files, on_bad)

    @abstractmethod
    def place(self, row: JsonRow) -> Placed | None:
        """The row as a `post` or a `reply` of the post that is its key. Raises `DataError` with file, row and key."""

    def _thread(self, group: Group, on_bad: OnBad) -> Thread | None:
        posts, replies = group.get(POST, []), group.get(REPLY, [])
        for row in posts[1:]:
            on_bad(row.error(f"this post was read before ({posts[0].file}, row {posts[0].number})", self.id_key))
        if not posts:
            for row in replies:
                on_bad(row.error("an orphan: its post is in none of the files, or was bad", self.parent_key))
            return None
        comments = [Comment(**row.data) for row in self._once(replies, on_bad)]
        return Thread(**posts[0].data, comments=tuple(sorted(comments, key=_by_time)))

    def _once(self, replies: Iterable[JsonRow], on_bad: OnBad) -> Iterator[JsonRow]:
        seen: dict[str, JsonRow] = {}
        for row in replies:
            first = seen.setdefault(row.data["id"], row)
            if first is row:
                yield row
            else:
                on_bad(row.error(f"this reply was read before ({first.file}, row {first.number})", self.id_key))


def post(key: str, id: str, source: str, prompt: str, author: str | None, created: str | None) -> Placed:
    """A post, under the key that its replies name."""
    data: dict[str, Any] = {"id": id, "source": source, "prompt": prompt, "author": author, "created": created}
    return Placed(key, POST, data)


def reply(key: str, comment: Comment) -> Placed:
    """A reply to the post `key`."""
    fields = ("id", "text", "author", "score", "created")
    return Placed(key, REPLY, {field: getattr(comment, field) for field in fields})


def _by_time(comment: Comment) -> tuple[str, str]:
    # ISO texts of one zone sort by time. The id decides between equal times, so that the order of the files does not
    # matter.
    return comment.created or "", comment.id
