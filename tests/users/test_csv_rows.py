"""CSV as spreadsheets, databases and people write it: every row is read, and a fault costs its own row only."""

from pathlib import Path

import pytest

from persona_rm.errors import DataError
from persona_rm.io.json_rows import JsonRow
from persona_rm.users.csv_rows import header_of, read_csv
from persona_rm.users.read_file import read_users_data
from tests.users.users_samples import finding

HEADER = "user,prompt,chosen,rejected\n"
ROWS = "".join(f"u{number % 5},p{number},a{number},b{number}\n" for number in range(40))


def rows_of(path: Path, text: str | bytes) -> tuple[list[JsonRow], list[DataError]]:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    bad: list[DataError] = []
    return list(read_csv(path, bad.append)), bad


@pytest.mark.parametrize(
    "text",
    [
        HEADER + ROWS,
        "\ufeff" + HEADER + ROWS,
        "\n \n" + HEADER + ROWS,
        "sep=;\n" + (HEADER + ROWS).replace(",", ";"),
        "sep=^\r\n" + (HEADER + ROWS).replace(",", "^").replace("\n", "\r\n"),
        (HEADER + ROWS).replace("\n", "\r\n"),
        (HEADER + ROWS).replace("\n", "\r"),
        (HEADER + ROWS).replace(",", "\t"),
        (HEADER + ROWS).replace("\n", "\n\n"),
        (HEADER + ROWS).replace("prompt", '"prompt"'),
    ],
    ids=["plain", "bom", "empty first lines", "sep", "sep of another", "crlf", "cr", "tabs", "empty lines", "quoted"],
)
def test_every_dialect_gives_the_same_rows(tmp_path: Path, text: str) -> None:
    rows, bad = rows_of(tmp_path / "users.csv", text)
    assert not bad
    assert [row.data["chosen"] for row in rows] == [f"a{number}" for number in range(40)]
    assert header_of(text.removeprefix("\ufeff").encode()) == ["user", "prompt", "chosen", "rejected"]


def test_a_header_may_have_a_line_break_in_a_quoted_name(tmp_path: Path) -> None:
    rows, bad = rows_of(tmp_path / "users.csv", 'user,"prompt\n(text)",chosen,rejected\n' + ROWS)
    assert (len(rows), bad) == (40, [])
    assert rows[0].data["prompt\n(text)"] == "p0"
    rows, bad = rows_of(tmp_path / "inch.csv", 'user,prompt 2",chosen,rejected\n' + ROWS)
    assert (len(rows), bad) == (40, [])


@pytest.mark.parametrize(
    "broken",
    ['u1,p,"never closed,b\n', 'u1,p,"three\nlines\n,b\n', 'u1,p,"he said \\"so\\"",b\n'],
    ids=["open", "open over lines", "backslash"],
)
@pytest.mark.parametrize("after", [ROWS, 'u2,p,"x, y","z"\n' + ROWS], ids=["plain", "with quotes"])
def test_a_quote_that_is_never_closed_costs_its_own_row(tmp_path: Path, broken: str, after: str) -> None:
    rows, bad = rows_of(tmp_path / "users.csv", HEADER + ROWS + broken + after)
    assert len(rows) == 40 + after.count("\n")
    assert [row.data["chosen"] for row in rows[-40:]] == [f"a{number}" for number in range(40)]
    assert (len(bad), bad[0].row) == (1, 42)


def test_a_row_of_lines_with_too_many_cells_is_one_bad_row(tmp_path: Path) -> None:
    rows, bad = rows_of(tmp_path / "users.csv", HEADER + 'u1,p,"a\nb\nc",b,too,many\n' + ROWS)
    assert len(rows) == 40
    assert [str(error).partition("row ")[2] for error in bad] == ["2: 6 cells, the header names 4 columns"]


def test_a_header_in_another_encoding_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"row 1: the header is not UTF-8; convert the file: iconv"):
        rows_of(tmp_path / "users.csv", (HEADER.replace("prompt", "prómpt") + ROWS).encode("latin-1"))


def test_messages_in_the_quotes_of_python_are_refused_and_not_taken_for_text(tmp_path: Path) -> None:
    path = tmp_path / "users.csv"
    path.write_text(HEADER + "u,\"[{'role': 'user', 'content': 'Tea?'}]\",a,b\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"row 2, key 'prompt': must be JSON: .*json.dumps writes it"):
        read_users_data(path)


def test_a_list_of_users_alone_is_a_users_file(tmp_path: Path) -> None:
    path = tmp_path / "users.csv"
    path.write_text("User\nann\nbob\n", encoding="utf-8")
    data = read_users_data(path)
    assert [user.persona.user_id for user in data.users] == ["ann", "bob"]
    assert finding(data, "no_history").count == 2
