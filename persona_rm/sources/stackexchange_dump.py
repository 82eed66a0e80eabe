"""Stack Exchange's public dumps: `Posts.xml`, one `<row .../>` per post, all in attributes, bodies in HTML.

PostTypeId 1 is a question (`Id, Title, Body, OwnerUserId, CreationDate`), 2 an answer (`ParentId` and `Score` too);
other types (tag wikis and the like) are no posts of users and are passed over. Tags and the accepted answer have no
field in a `Thread` and stay behind. Times are UTC.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, NoReturn
from xml.parsers import expat

from persona_rm.config import Config
from persona_rm.errors import BrokenFile, DataError
from persona_rm.io.json_rows import LONGEST_ROW, JsonRow, OnBad, report
from persona_rm.io.unpacked import BREAKS, CHUNK, open_binary
from persona_rm.sources.fields import author, moment, need_ident, whole
from persona_rm.sources.html_text import to_text
from persona_rm.sources.inputs import FilesConfig, read_files
from persona_rm.sources.join import JoinConfig, Placed
from persona_rm.sources.joined import JoinedSource, post, reply
from persona_rm.types import Comment

QUESTION, ANSWER = "1", "2"
COMMUNITY = "-1"
"""The user that owns posts without an author."""


class StackExchangeDumpConfig(FilesConfig, JoinConfig):
    """`path`: a `Posts.xml`, the folder of a site or of many sites, or a glob pattern.

    `site` names the source, `stackexchange/<site>`; without it the file's folder does (beer.stackexchange.com: beer).
    """

    site: str = ""
    licence: str = "CC BY-SA 4.0"


class StackExchangeDumpSource(JoinedSource):
    """A question and its answers. Ids and authors carry the site, because its numbers are its own."""

    name: ClassVar[str] = "stackexchange_dump"
    Config: ClassVar[type[Config]] = StackExchangeDumpConfig
    patterns: ClassVar[tuple[str, ...]] = ("posts.xml",)
    id_key: ClassVar[str] = "Id"
    parent_key: ClassVar[str] = "ParentId"

    def rows(self, files: list[Path], on_bad: OnBad) -> Iterator[JsonRow]:
        """The attributes of every `<row>`."""
        return read_files(files, on_bad, read_xml)

    def place(self, row: JsonRow) -> Placed | None:
        """Questions and answers; None for posts of other types."""
        kind = need_ident(row, "PostTypeId")
        if kind not in (QUESTION, ANSWER):
            return None
        site = self.config.site or Path(row.file).absolute().parent.name.removesuffix(".stackexchange.com")
        id_, created = f"{site}-{need_ident(row, 'Id')}", moment(row, "CreationDate")
        if kind == QUESTION:
            prompt = f"{row.text('Title')}\n\n{to_text(row.text('Body'))}".strip()
            return post(id_, id_, f"stackexchange/{site}", prompt, _author(row, site), created)
        key = f"{site}-{need_ident(row, 'ParentId')}"
        text, author, score = to_text(row.text("Body")), _author(row, site), whole(row, "Score")
        return reply(key, Comment(f"{key}/{need_ident(row, 'Id')}", text, author, score, created))


def _author(row: JsonRow, site: str) -> str | None:
    owner = author(row, "OwnerUserId")
    return None if owner in (None, COMMUNITY) else f"{site}/{owner}"


def read_xml(file: Path, on_bad: OnBad | None = None) -> Iterator[JsonRow]:
    """The attributes of every `<row>`, streaming. What lies behind broken XML goes to `on_bad`, or raises.

    By expat itself: it keeps no tree, and refuses entity declarations at C speed (ElementTree's C parser cannot refuse
    them, defusedxml's is pure Python and one more dependency).
    """
    rows: list[dict[str, str]] = []
    parser = expat.ParserCreate()
    parser.StartElementHandler = lambda tag, attributes: rows.append(attributes) if tag == "row" else None
    # Nested entities can expand to gigabytes ("billion laughs").
    parser.EntityDeclHandler = _refuse
    number, problem, more, since = 0, "", True, 0
    with open_binary(file) as stream:
        while more and not problem:
            try:
                chunk = stream.read1(CHUNK)  # unlike read it gives what comes before a break
                more, since = bool(chunk), since + len(chunk)
                if since > LONGEST_ROW:
                    raise DataError(f"more than {LONGEST_ROW:,} bytes without a <row>")
                parser.Parse(chunk, not chunk)
            except (expat.ExpatError, ValueError, DataError, *BREAKS) as error:
                problem = f"the file breaks off here: {error}"
            # The rows that were complete before the break still count.
            since = 0 if rows else since
            for attributes in rows:
                number += 1
                yield JsonRow(attributes, str(file), number)
            rows.clear()
    if problem:
        report(BrokenFile(problem, file=file, row=number + 1), on_bad)


def _refuse(*_: object) -> NoReturn:
    raise DataError("it declares an XML entity, which no dump does")
