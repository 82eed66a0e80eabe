"""Posts.xml: questions joined with their answers, HTML to text, several sites, broken XML."""

import gzip
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import pytest

from persona_rm.errors import DataError
from persona_rm.sources import SOURCES
from persona_rm.sources.stackexchange_dump import StackExchangeDumpSource, read_xml
from persona_rm.space import PreferenceSpace
from persona_rm.types import Comment, Thread

HEAD = '<?xml version="1.0" encoding="utf-8"?>\n<posts>\n'
FOOT = "</posts>\n"


def row(**attributes: Any) -> str:
    return "  <row " + " ".join(f"{key}={quoteattr(str(value))}" for key, value in attributes.items()) + " />\n"


def question(number: int, **more: Any) -> str:
    given = {"Id": number, "PostTypeId": 1, "Title": f"Why {number}?", "Body": "<p>Do &amp; <b>tell</b></p>"}
    return row(
        **given | {"OwnerUserId": 7, "CreationDate": "2014-01-21T20:26:05.383", "Tags": "<hops>", "Score": 2} | more
    )


def answer(number: int, parent: int, **more: Any) -> str:
    given = {"Id": number, "PostTypeId": 2, "ParentId": parent, "Body": f"<p>Because {number}</p>", "Score": -1}
    return row(**given | {"OwnerUserId": 8, "CreationDate": f"2014-01-22T00:00:{number:02}"} | more)


def save(folder: Path, *rows: str, foot: str = FOOT, site: str = "beer.stackexchange.com") -> Path:
    path = folder / site / "Posts.xml"
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(HEAD + "".join(rows) + foot, encoding="utf-8")
    return path


def read(path: Path, space: PreferenceSpace, **config: Any) -> tuple[dict[str, Thread], list[DataError]]:
    bad: list[DataError] = []
    source = StackExchangeDumpSource(StackExchangeDumpSource.Config(path=str(path), **config), space)
    return {thread.id: thread for thread in source.threads(bad.append)}, bad


def test_a_question_and_its_answers_become_a_thread(tmp_path: Path, space: PreferenceSpace) -> None:
    wiki = row(Id=5, PostTypeId=5, Body="about a tag")
    nobody = answer(4, 1, OwnerUserId=-1)
    found, bad = read(save(tmp_path, answer(3, 1), question(1), wiki, answer(2, 1), nobody, question(6)), space)
    comments = (
        Comment("beer-1/2", "Because 2", "beer/8", -1, "2014-01-22T00:00:02"),
        Comment("beer-1/3", "Because 3", "beer/8", -1, "2014-01-22T00:00:03"),
        Comment("beer-1/4", "Because 4", None, -1, "2014-01-22T00:00:04"),
    )
    prompt, when = "Why 1?\n\nDo & tell", "2014-01-21T20:26:05.383"
    assert found["beer-1"] == Thread("beer-1", "stackexchange/beer", prompt, comments, "beer/7", when)
    assert found["beer-6"].comments == ()
    assert bad == []


def test_several_sites_and_packed_files_keep_apart(tmp_path: Path, space: PreferenceSpace) -> None:
    save(tmp_path, question(1), answer(2, 1))
    path = save(tmp_path, question(1), site="ai")
    path.with_suffix(".xml.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    (tmp_path / "ai" / "Users.xml").write_text(HEAD + FOOT)
    found, bad = read(tmp_path, space)
    assert sorted((key, thread.source) for key, thread in found.items()) == [
        ("ai-1", "stackexchange/ai"),
        ("beer-1", "stackexchange/beer"),
    ]
    assert bad == []
    assert set(read(tmp_path / "ai", space, site="robots")[0]) == {"robots-1"}


def test_orphans_doubles_and_bad_rows_are_named(tmp_path: Path, space: PreferenceSpace) -> None:
    rows = (
        question(1),
        answer(2, 99),
        question(1, Title="again"),
        answer(3, 1),
        answer(3, 1),
        row(Id=9, PostTypeId=1, Body="x"),
        row(Id=10, Body="x"),
        answer(11, 1, Score="many"),
    )
    path = save(tmp_path, *rows)
    found, bad = read(path, space)
    assert [comment.id for comment in found["beer-1"].comments] == ["beer-1/3"]
    assert (len(found), found["beer-1"].prompt[:6]) == (1, "Why 1?")
    where = sorted((error.row, error.key) for error in bad)
    assert where == [(2, "ParentId"), (3, "Id"), (5, "Id"), (6, "Title"), (7, "PostTypeId"), (8, "Score")]
    assert all(f"{path}, row {error.row}, key " in str(error) for error in bad)


@pytest.mark.parametrize(
    "rest",
    [
        '  <row Id="3" PostTypeId="1" Title="cu',
        '  <row Id="3" PostTypeId="1" <\n' + question(4) + FOOT,
        '  <row Id="3" Body="&undeclared;" />\n' + FOOT,
        '  <row Id="3" Body="&#x1;" />\n' + FOOT,
        "",
    ],
)
def test_what_was_read_before_broken_xml_is_kept(tmp_path: Path, space: PreferenceSpace, rest: str) -> None:
    path = save(tmp_path, question(1), answer(2, 1), foot=rest)
    save(tmp_path, question(1), site="zoo")
    found, bad = read(tmp_path, space)
    assert sorted(found) == ["beer-1", "zoo-1"]
    assert len(found["beer-1"].comments) == 1
    assert [(error.file, error.row) for error in bad] == [(path, 3)]
    assert f"{path}, row 3: the file breaks off here" in str(bad[0])


def test_latin_1_bytes_a_cut_gzip_and_an_empty_file_stop_nothing(tmp_path: Path, space: PreferenceSpace) -> None:
    path = save(tmp_path, question(1), question(2, Title="caf\u00e9"))
    text = path.read_text(encoding="utf-8")
    path.write_bytes(text.encode("latin-1"))
    cut = tmp_path / "cut" / "Posts.xml.gz"
    cut.parent.mkdir()
    cut.write_bytes(gzip.compress("".join([HEAD, *(question(n) for n in range(2000))]).encode())[:-2000])
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "Posts.xml").touch()
    save(tmp_path, question(1), site="zoo")
    found, bad = read(tmp_path, space)
    assert {"beer-1", "cut-1", "zoo-1"} <= set(found)
    kept = sum(key.startswith("cut-") for key in found)
    assert [(error.file, error.row) for error in bad] == [
        (path, 2),
        (cut, kept + 1),
        (tmp_path / "empty" / "Posts.xml", 1),
    ]
    assert kept > 500


def test_entities_are_refused(tmp_path: Path) -> None:
    bomb = '<?xml version="1.0"?><!DOCTYPE p [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><posts><row Id="&b;"/></posts>'
    (tmp_path / "Posts.xml").write_text(bomb)
    bad: list[DataError] = []
    assert list(read_xml(tmp_path / "Posts.xml", bad.append)) == []
    assert [(error.row, "declares an XML entity" in str(error)) for error in bad] == [(1, True)]
    with pytest.raises(DataError, match="entity"):
        list(read_xml(tmp_path / "Posts.xml"))


def test_buckets_and_order_change_nothing(tmp_path: Path, space: PreferenceSpace) -> None:
    rows = [question(n) for n in range(1, 60)] + [answer(100 + n, 1 + n % 50) for n in range(200)]
    first = read(save(tmp_path, *rows), space, buckets=1)
    second = read(save(tmp_path, *reversed(rows)), space, buckets=50)
    assert list(first[0].items()) == list(second[0].items())
    assert (len(first[0]), first[1]) == (59, [])


def test_a_large_body_is_read_and_the_defaults_are_those_of_the_dumps(tmp_path: Path, space: PreferenceSpace) -> None:
    found, bad = read(save(tmp_path, question(1), answer(2, 1, Body="<p>" + "long " * 2_000_000 + "</p>")), space)
    assert (len(found["beer-1"].comments[0].text), bad) == (9_999_999, [])
    assert SOURCES.load("stackexchange_dump") is StackExchangeDumpSource
    assert StackExchangeDumpSource.Config(path="x").licence == "CC BY-SA 4.0"


def test_a_folder_without_posts_says_what_it_holds(tmp_path: Path, space: PreferenceSpace) -> None:
    (tmp_path / "Users.xml").write_text(HEAD + FOOT)
    with pytest.raises(DataError, match=r"holds no posts\.xml, .*Users\.xml"):
        read(tmp_path, space)
