"""Stack Exchange: HTML bodies to text, authors and scores kept, bad rows named."""

import json
from pathlib import Path
from typing import Any

import pytest

from persona_rm.errors import DataError
from persona_rm.sources import SOURCES
from persona_rm.sources.html_text import to_text
from persona_rm.sources.stackexchange import StackExchangeSource
from persona_rm.space import PreferenceSpace
from persona_rm.types import Comment, Thread


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>One <em>two</em>\n three.</p>\n\n<p>Four.</p>", "One two three.\n\nFour."),
        ("<p>A &lt;b&gt; &amp; caf&eacute; &#8212; &nbsp;x</p>", "A <b> & caf\u00e9 \u2014 x"),
        ('<p>See <a href="http://x.org">this <b>page</b></a>.</p>', "See this page."),
        ("<p>One<br>two<br/>three</p>", "One\ntwo\nthree"),
        ("<p>List:</p><ul><li>a</li>\n<li><p>b</p></li></ul><p>end</p>", "List:\n- a\n- b\n\nend"),
        ("<ol><li>a<ul><li>x</li></ul></li><li>b</li></ol><ol><li>c</li></ol>", "1. a\n   - x\n2. b\n1. c"),
        ("<p>Code:</p><pre><code>if a &lt; b:\n    c()\n\n</code></pre>", "Code:\n\n```\nif a < b:\n    c()\n```"),
        ("<p>Use <code>x = 1</code>.</p>", "Use x = 1."),
        ("<blockquote><p>q1</p><p>q2<br>q3</p></blockquote><p>me</p>", "> q1\n\n> q2\n> q3\n\nme"),
        ("<ul><li><p>a</p><pre>b\nc</pre></li></ul>", "- a\n\n  ```\n  b\n  c\n  ```"),
        ("<h2>Title</h2>text<hr>more", "Title\n\ntext\n\nmore"),
        ("<script>x()</script><style>p{}</style><p>a</p>", "a"),
        ('<p>A <img src="x.png" alt="pint glass"> here</p>', "A pint glass here"),
        ("<table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2</td></tr></table>", "a b\n\n1 2"),
        ("<p>never <b>closed<li>odd</ul></blockquote>", "never closed\n\n- odd"),
        ("no tags, a < b", "no tags, a < b"),
        ("", ""),
    ],
)
def test_html_becomes_the_text_that_people_wrote(html: str, text: str) -> None:
    assert to_text(html) == text


def question(number: int, **changes: Any) -> dict[str, Any]:
    answer = {"text_html": "<p>Yes</p>", "author": "ann", "score": 3, "created": "2014-01-22", "accepted": True}
    row = {"thread_id": f"q{number}", "source": "stackexchange/beer", "author": "bob", "created": "2014-01-21"}
    return (
        row
        | {"title": "Why?", "prompt_html": "<p>Do &amp; tell</p>", "tags": "<hops>", "responses": [answer]}
        | changes
    )


def read(path: Path, space: PreferenceSpace, *rows: Any) -> tuple[list[Thread], list[DataError]]:
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    path.write_bytes(b"\n".join(lines))
    bad: list[DataError] = []
    source = StackExchangeSource(StackExchangeSource.Config(path=str(path)), space)
    return list(source.threads(bad.append)), bad


def test_a_question_becomes_a_thread(tmp_path: Path, space: PreferenceSpace) -> None:
    gone = {"text_html": "<p>No</p>", "author": None, "score": None}
    found, bad = read(tmp_path / "a.jsonl", space, question(1), question(2, responses=[gone], author=None))
    answer = Comment("q1/1", "Yes", "ann", 3, "2014-01-22")
    assert found[0] == Thread("q1", "stackexchange/beer", "Why?\n\nDo & tell", (answer,), "bob", "2014-01-21")
    assert found[1].comments == (Comment("q2/1", "No"),)
    assert bad == []


@pytest.mark.parametrize(
    ("row", "problem", "key"),
    [
        (b'{"thread_id": "q2", "sou', "not JSON", None),
        (json.dumps(question(2)).encode().replace(b"Yes", b"\xe9"), "not UTF-8", "responses[0].text_html"),
        ({key: value for key, value in question(2).items() if key != "title"}, "missing", "title"),
        (question(2, prompt_html=["p"]), "must be text, found ['p']", "prompt_html"),
        (question(2, responses=[{"text": "a"}]), "missing; the row has: text", "responses[0].text_html"),
        (question(2, responses=[]), "the thread is empty", "responses"),
    ],
)
def test_a_bad_row_goes_to_quarantine(
    tmp_path: Path, space: PreferenceSpace, row: Any, problem: str, key: str | None
) -> None:
    found, bad = read(tmp_path / "a.jsonl", space, question(1), row, question(3))
    assert [thread.id for thread in found] == ["q1", "q3"]
    assert [(error.row, error.key) for error in bad] == [(2, key)]
    assert problem in str(bad[0])


@pytest.mark.parametrize(("name", "questions", "unanswered"), [("beer", 663, 19), ("ai", 421, 53)])
def test_the_real_files(space: PreferenceSpace, shared_data: Path, name: str, questions: int, unanswered: int) -> None:
    path = shared_data / "threads" / f"stackexchange_{name}.jsonl.gz"
    bad: list[DataError] = []
    source = SOURCES.load("stackexchange")(StackExchangeSource.Config(path=str(path)), space)
    threads = list(source.threads(bad.append))
    assert (len(threads) + len(bad), len(bad)) == (questions, unanswered)
    assert {error.key for error in bad} == {"responses"}
    comments = [comment for thread in threads for comment in thread.comments]
    assert all(comment.text.strip() and comment.score is not None and comment.created for comment in comments)
    assert not any("<p>" in comment.text or "</" in comment.text for comment in comments)
