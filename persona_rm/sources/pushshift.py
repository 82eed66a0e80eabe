"""Reddit dumps in the format of Pushshift (and Dolma): submissions and comments, each JSON lines, mostly .zst.

Submissions have `id, title, selftext, author, created_utc, subreddit`; comments `id, body, author, created_utc, score,
parent_id` (`t3_...` a submission, `t1_...` a comment) and `link_id` (`t3_...`, the submission above all of them).
"""

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from persona_rm.config import Config
from persona_rm.io.json_rows import JsonRow
from persona_rm.io.marks import is_removed
from persona_rm.sources.fields import author, ident, moment, need_ident, whole
from persona_rm.sources.inputs import JSON, SharedConfig, find_files
from persona_rm.sources.join import JoinConfig, Placed
from persona_rm.sources.joined import JoinedSource, post, reply
from persona_rm.types import Comment


class PushshiftConfig(SharedConfig, JoinConfig):
    """`submissions`, `comments`: each a file, folder or glob pattern; one folder for both will do.

    `replies`: `top` takes comments on the submission itself, `all` also those on other comments.
    """

    submissions: str = Field(min_length=1)
    comments: str = Field(min_length=1)
    replies: Literal["top", "all"] = "top"


class PushshiftSource(JoinedSource):
    """Submissions with their comments. Bots and removed texts are for cleaning to drop, with a reason."""

    name: ClassVar[str] = "pushshift"
    Config: ClassVar[type[Config]] = PushshiftConfig
    # RS_2019-01 and RC_2019-01 are Pushshift's monthly files; later dumps have one file per subreddit.
    patterns: ClassVar[tuple[str, ...]] = (*JSON, "rs_*", "rc_*", "*_submissions", "*_comments")
    id_key: ClassVar[str] = "id"
    parent_key: ClassVar[str] = "link_id"

    def files(self) -> list[Path]:
        """Submissions, then comments. Raises `DataError` if there is none of either."""
        both = [find_files(path, self.patterns) for path in (self.config.submissions, self.config.comments)]
        # A folder that is given for both must not be read twice.
        return list(dict.fromkeys(file for files in both for file in files))

    def place(self, row: JsonRow) -> Placed | None:
        """A row with a `body` or a `link_id` is a comment, every other a submission."""
        return self._comment(row) if "body" in row.data or "link_id" in row.data else _submission(row)

    def _comment(self, row: JsonRow) -> Placed | None:
        # Some dumps have null for the parent of a comment on the submission itself, others for the link.
        link, parent = ident(row, "link_id"), ident(row, "parent_id")
        if link is None and (parent is None or not parent.startswith("t3_")):
            raise row.error("missing or empty, and parent_id names no submission", "link_id")
        key = str(link or parent).removeprefix("t3_")
        parent = (parent or key).removeprefix("t3_")
        # A reply to another comment answers that comment, and not the submission.
        if self.config.replies == "top" and parent != key:
            return None
        comment = Comment(
            id=f"{key}/{need_ident(row, 'id').removeprefix('t1_')}",
            text=_plain(row.text("body")),
            author=author(row, "author"),
            score=whole(row, "score"),
            created=moment(row, "created_utc"),
        )
        return reply(key, comment)


def _submission(row: JsonRow) -> Placed:
    """A submission whose text was removed has that mark alone for its prompt: its title alone is another question."""
    key = need_ident(row, "id").removeprefix("t3_")
    body = (row.nullable("selftext", str) or "").strip()
    prompt = body if is_removed(body) else _plain(f"{row.text('title')}\n\n{body}").strip()
    return post(
        key, key, f"reddit/{need_ident(row, 'subreddit')}", prompt, author(row, "author"), moment(row, "created_utc")
    )


def _plain(text: str) -> str:
    """Reddit's interface escapes three characters, and nothing else."""
    # The ampersand comes last: "&amp;lt;" is "&lt;" as it was typed, and not "<".
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
