"""Every verb teaches, and every error says what is wrong without a traceback."""

import os
import shlex
import subprocess
import sys
import textwrap

import pytest
import typer
from typer.testing import CliRunner

from persona_rm import __version__
from persona_rm.cli import app
from persona_rm.cli.app import extras_with, told

RUNNER = CliRunner()
GROUP = typer.main.get_command(app)
VERBS = sorted(GROUP.commands)
ODD = "no [/a] [red]such[/red] :smile: place"
"""A name that is no markup."""


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_a_description_an_example_and_described_parameters(verb):
    command = GROUP.commands[verb]
    description = " ".join(command.help.split())
    assert description[0].isupper()
    assert "Example: `" in description
    for parameter in command.params:
        if parameter.name != "help":
            assert parameter.help, f"{verb} {parameter.name} has no help"
            assert parameter.help[0].isupper() or parameter.help[0] in "`", parameter.help
            assert parameter.help.rstrip("`").endswith("."), f"{verb} {parameter.name}: {parameter.help}"


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb not in ("where", "version", "recipes")])
def test_the_example_of_a_verb_names_only_options_that_there_are(verb):
    """The example is parsed by the verb's own parser; it is not run."""
    example = " ".join(GROUP.commands[verb].help.split()).partition("Example: `")[2].partition("`")[0]
    program, name, *args = shlex.split(example)
    assert (program, name) == ("persona-rm", verb)
    GROUP.commands[verb].make_context(verb, args)


def test_the_help_lists_every_verb_and_where_to_start():
    shown = RUNNER.invoke(app, ["--help"]).stdout
    assert all(verb in shown for verb in VERBS)
    assert "persona-rm run quickstart" in " ".join(shown.split())


@pytest.mark.parametrize("args", [["--version"], ["version"]])
def test_the_version_needs_no_extra(args):
    """In a process in which no package of an extra can be imported."""
    code = f"""
        import sys
        packages = "ray torch pyarrow pandas transformers datasets fastapi uvicorn redis vllm sentence_transformers"
        sys.modules.update(dict.fromkeys(packages.split()))
        sys.argv = ["persona-rm", *{args!r}]
        from persona_rm.cli import app
        app()
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{__version__}\n", "")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["nope"], "No such command 'nope'"),
        (["run", "--bogus"], "No such option: --bogus"),
        (["run"], "Missing argument"),
        (["serve", "--port", "many"], "Invalid value for '--port'"),
    ],
)
def test_a_wrong_command_line_is_a_usage_error(args, said):
    result = RUNNER.invoke(app, args)
    assert result.exit_code == 2
    assert said in " ".join(result.output.split())


@pytest.mark.parametrize(
    "args",
    [
        ["run", ODD],
        ["build", ODD],
        ["prepare", ODD],
        ["eval", ODD],
        ["report", ODD],
        ["rehearse", ODD],
        ["infer", ODD],
        ["ask", ODD],
        ["leakage", ODD + ".jsonl", ODD + ".jsonl"],
        ["profile", f"arrow:{ODD}", "ann"],
        ["serve", ODD],
        ["serve", "--bundle", ODD],
        ["where", ODD],
        ["space", ODD],
        ["space", "--parse", ODD],
        ["fit-annotator", ODD, ODD, "out.yaml"],
        ["zoo", ODD],
    ],
    ids=" ".join,
)
def test_the_error_of_every_verb_is_one_message_with_the_name_as_it_is(args):
    result = RUNNER.invoke(app, args)
    assert result.exit_code == 1, result.output
    assert ODD in result.output
    assert "Traceback" not in result.output
    assert result.output.count("\n") == 1, "one unbroken line"


@pytest.mark.parametrize(
    ("args", "package", "extra"),
    [
        (["serve", "--bundle", "anywhere"], "fastapi", "persona_rm[serve]"),
        (["profile", "arrow:x.arrow", "ann"], "pyarrow", "persona_rm[profiles]"),
        (["profile", "redis://localhost", "ann"], "redis", "persona_rm[profiles]"),
    ],
)
def test_a_missing_extra_is_named_with_its_brackets(monkeypatch, tmp_path, args, package, extra):
    for name in [name for name in sys.modules if name == package or name.startswith(package + ".")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.arrow").touch()
    result = RUNNER.invoke(app, args)
    assert result.exit_code == 1, result.output
    assert result.output.startswith("MissingExtra: ")
    assert f"pip install {extra}" in result.output


def test_a_package_that_no_verb_looked_for_is_named_too(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(typer.Exit), told():
        import ray  # noqa: F401
    said = "this needs the package 'ray', which is not installed: pip install persona_rm[data] or "
    assert capsys.readouterr().err == f"MissingExtra: {said}pip install persona_rm[train]\n"


def test_extras_are_those_of_the_metadata():
    assert extras_with("pyarrow") == ["data", "profiles"]
    assert extras_with("sentence_transformers") == ["encoder"]
    assert extras_with("prometheus_client") == ["serve"]
    assert extras_with("openrlhf") == ["gpu"]
    assert extras_with("os") == []
    assert extras_with("pytest") == []


def test_a_bug_keeps_its_traceback(monkeypatch):
    done = subprocess.run(
        [sys.executable, "-c", "from persona_rm.cli.app import told\nwith told():\n    import no_such_package"],
        capture_output=True, text=True, check=False, env=os.environ,
    )  # fmt: skip
    assert done.returncode == 1
    assert "ModuleNotFoundError: No module named 'no_such_package'" in done.stderr
