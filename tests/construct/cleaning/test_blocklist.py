"""Whole words and phrases, whatever the case."""

import pytest

from persona_rm.construct.cleaning.blocklist import Blocklist
from persona_rm.errors import DataError

LIST = Blocklist.of(["badword", "very bad phrase", "very worse"])


@pytest.mark.parametrize("text", ["a BadWord!", "so, a Very\nbad, phrase it is", "very very worse", "badword"])
def test_entries_are_found(text):
    assert LIST.holds(text)


@pytest.mark.parametrize("text", ["badwords", "notabadword", "very bad phrases", "a very bad", "phrase bad very", ""])
def test_parts_of_words_and_of_phrases_are_not(text):
    assert not LIST.holds(text)


def test_a_file_has_comments_and_empty_lines(tmp_path):
    file = tmp_path / "list.txt"
    file.write_text("# adult\n\nfoo bar\n", encoding="utf-8")
    assert Blocklist.read(file) == Blocklist.of(["foo bar"])


def test_bad_files_are_errors(tmp_path):
    with pytest.raises(DataError, match=r"none.txt: there is no such blocklist"):
        Blocklist.read(tmp_path / "none.txt")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    with pytest.raises(DataError, match="not UTF-8"):
        Blocklist.read(tmp_path / "latin.txt")
    with pytest.raises(DataError, match="holds no word"):
        Blocklist.of(["***"])
