"""Threads from rows of any shape: config says which key holds what. Shared by plain JSON lines and by tables."""

from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import ClassVar

from persona_rm.config import Config
from persona_rm.io.json_rows import JsonRow
from persona_rm.sources.base import OnBad
from persona_rm.sources.fields import author, ident, moment, need_ident
from persona_rm.sources.inputs import FilesConfig, read_files
from persona_rm.sources.join import Group, JoinConfig, Placed, join
from persona_rm.sources.json_threads import LinesSource, ResponseKeys, comment_of, responses
from persona_rm.types import Comment, Thread, content_id

RESPONSE = "response"


class MappingConfig(FilesConfig, JoinConfig):
    """Which key holds what. A row is a thread, whose responses are texts or objects; both may have author and time.

    With `group_by` a row is one response: its text, author, time and score stand beside the prompt, and the rows whose
    value at `group_by` (an id, or the prompt itself) is the same are one thread. A missing `id_key` is derived from
    the texts.
    """

    id_key: str = "id"
    prompt_key: str = "prompt"
    responses_key: str = "responses"
    text_key: str = "text"
    author_key: str = "author"
    created_key: str = "created"
    score_key: str = "score"
    group_by: str | None = None
    source_name: str


class MappedSource(LinesSource):
    """Threads in the order of the files; with `group_by` in the order of the hash of its values."""

    Config: ClassVar[type[Config]] = MappingConfig

    def _threads(self, files: list[Path], on_bad: OnBad) -> Iterator[Thread]:
        if not self.config.group_by:
            yield from super()._threads(files, on_bad)
            return
        for group in join(read_files(files, on_bad), self._place, self.config, on_bad):
            yield self._grouped(group, on_bad)

    def thread(self, row: JsonRow, on_bad: OnBad) -> Thread:
        """A row with its list of responses."""
        keys, prompt, id_ = self.config, row.text(self.config.prompt_key), ident(row, self.config.id_key)
        asker, created = author(row, keys.author_key), moment(row, keys.created_key)
        given = responses(row, self._keys, on_bad)
        # The same row gives the same id in every run and every file.
        id_ = id_ or content_id(prompt, *(comment.text for _, comment in given))
        comments = tuple(replace(comment, id=f"{id_}/{number}") for number, comment in given)
        return Thread(id_, keys.source_name, prompt, comments, asker, created)

    @property
    def _keys(self) -> ResponseKeys:
        keys = self.config
        return ResponseKeys(keys.responses_key, keys.text_key, keys.author_key, keys.score_key, keys.created_key)

    def _place(self, row: JsonRow) -> Placed:
        keys, prompt = self.config, row.text(self.config.prompt_key)
        key = need_ident(row, keys.group_by)
        # A hash stands for the prompt: ids are named in messages, and users' texts are not.
        id_ = content_id(prompt) if keys.group_by == keys.prompt_key else key
        return Placed(key, RESPONSE, {"id": id_, "prompt": prompt, "comment": asdict(comment_of(row, self._keys))})

    def _grouped(self, group: Group, on_bad: OnBad) -> Thread:
        """The thread of a group; its first row says the prompt."""
        first, *others = group[RESPONSE]
        prompt, rows = first.data["prompt"], [first]
        for row in others:
            if row.data["prompt"] == prompt:
                rows.append(row)
            else:
                problem = f"not the prompt of its group (which {first.file}, row {first.number} began)"
                on_bad(row.error(problem, self.config.prompt_key))
        id_ = first.data["id"]
        comments = [Comment(**row.data["comment"] | {"id": f"{id_}/{n}"}) for n, row in enumerate(rows, start=1)]
        return Thread(id_, self.config.source_name, prompt, tuple(comments))
