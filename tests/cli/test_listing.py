"""recipes and zoo: names are whole, whatever the terminal; every member has a sentence."""

import io
import json

import pytest
from typer.testing import CliRunner

from persona_rm.cli import about, app
from persona_rm.cli.app import recipe_files
from persona_rm.cli.listing import first_sentence, listing, zoo_member
from persona_rm.io.terminal import make_console
from persona_rm.recipe_sections import ZOOS
from persona_rm.registry import Registry

RUNNER = CliRunner()


def terminal(monkeypatch, columns: int) -> io.StringIO:
    """A console of so many columns in the place of the verbs' one."""
    screen = io.StringIO()
    screen.isatty = lambda: True
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(about, "console", make_console(file=screen, force_terminal=False))
    return screen


@pytest.mark.parametrize("columns", [20, 50, 80, 200])
def test_recipes_are_named_whole_on_any_terminal(monkeypatch, columns):
    screen = terminal(monkeypatch, columns)
    result = RUNNER.invoke(app, ["recipes"])
    assert result.exit_code == 0, result.output
    lines = screen.getvalue().splitlines()
    names = {line.split()[0] for line in lines if line.startswith("  ") and line.strip()}
    assert {path.stem for path in recipe_files()} <= names
    assert "…" not in screen.getvalue()
    described = lines[: lines.index("")]
    longest = max(len(word) for line in described for word in line.split())
    assert max(map(len, described)) <= max(columns, longest + 4)


def test_a_recipe_says_what_it_does_and_how_long_it_takes():
    said = " ".join(RUNNER.invoke(app, ["recipes"]).stdout.split())
    assert "Nothing is trained." in said, "the comment goes on in its second line"
    assert said.count("Hardware:") == len(recipe_files())


@pytest.mark.parametrize("columns", [30, 60, 200])
def test_a_description_wraps_beside_the_name_or_below_it(columns):
    rows = [("a_long_name", ["one two three " * 6, "second"]), ("b", [])]
    lines = listing(rows, columns)
    assert max(map(len, lines)) <= columns
    assert " ".join(" ".join(lines).split()) == " ".join(["a_long_name", *["one", "two", "three"] * 6, "second", "b"])
    assert (lines[0] == "  a_long_name") is (columns == 30)


def test_every_member_of_every_zoo_has_a_sentence():
    result = RUNNER.invoke(app, ["zoo", "--json"])
    assert result.exit_code == 0, result.output
    members = json.loads(result.stdout)
    listed = {(member["zoo"], member["name"]) for member in members}
    assert {(zoo, name) for zoo, registry in ZOOS.items() for name in registry.names()} == listed
    for member in members:
        assert member["problem"] == "", member
        assert len(member["sentence"].split()) > 4, member
        assert member["sentence"][-1] in ".!?", member
        assert not member["sentence"].startswith("`"), member


def test_the_zoo_is_grouped_and_says_what_a_method_needs_and_its_controls():
    said = RUNNER.invoke(app, ["zoo"]).stdout
    places = [said.index(f"{zoo}: ") for zoo in ZOOS]
    assert places == sorted(places)
    methods = RUNNER.invoke(app, ["zoo", "method"]).stdout
    lines = methods.splitlines()
    own = next(number for number, line in enumerate(lines) if line.startswith("  pba "))
    assert "Needs: policy, reference." in lines[own + 1]
    assert "Controls: " in lines[own + 1]
    assert "inferrer" not in methods


def test_an_unknown_zoo_lists_those_that_there_are():
    result = RUNNER.invoke(app, ["zoo", "nope"])
    assert result.exit_code == 1
    assert "there is no zoo 'nope'; the zoos are: source, universal, annotator" in result.output


def test_a_member_that_cannot_be_imported_is_listed_with_the_reason():
    broken = Registry("persona_rm.methods", {"gone": "persona_rm.nowhere:Gone"})
    member = zoo_member("method", broken, "gone")
    assert (member.name, member.sentence) == ("gone", "")
    assert "persona_rm.nowhere" in member.problem


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("`vote`: the rule (paper, eq. 2, e.g. this). More.", "The rule (paper, eq. 2, e.g. this)."),
        ("One line without an end\n\nAnother paragraph.", "One line without an end"),
        ("Read\n    over two lines. `more`", "Read over two lines."),
        ("", ""),
    ],
)
def test_a_sentence_ends_where_another_begins(text, sentence):
    assert first_sentence(text, "vote") == sentence
