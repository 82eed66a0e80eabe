"""One loader of members: by name, with settings, or as a class in a file of the user's own."""

import json
import os
import subprocess
import sys

import pytest

from persona_rm.annotators import ANNOTATORS
from persona_rm.annotators.given import GivenAnnotator
from persona_rm.benchmarks import BENCHMARKS
from persona_rm.errors import MemberError, UnknownName
from persona_rm.features import FEATURES
from persona_rm.inferrers import INFERRERS
from persona_rm.methods import METHODS
from persona_rm.profiles import PROFILES
from persona_rm.registry import Registry, absolute_member, absolute_name, as_mapping
from persona_rm.sources import SOURCES
from persona_rm.sources.universal import UNIVERSAL

ZOOS = (SOURCES, UNIVERSAL, ANNOTATORS, INFERRERS, FEATURES, METHODS, BENCHMARKS, PROFILES)
MINE = """
from typing import ClassVar

from persona_rm.annotators.base import Annotator
from persona_rm.annotators.given import GivenAnnotator
from persona_rm.config import Config


class LoudConfig(Config):
    level: int = 3


class Loud(Annotator):
    name: ClassVar[str] = "loud"
    Config = LoudConfig

    def read(self, prompts, comments, variant=0):
        return []


class Half(Annotator):
    name: ClassVar[str] = "half"


class Nameless(Annotator):
    def read(self, prompts, comments, variant=0):
        return []


class Alone:
    name = "alone"
"""


@pytest.fixture
def mine(tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    return tmp_path


@pytest.mark.parametrize("zoo", ZOOS, ids=lambda zoo: zoo.group)
def test_every_entry_of_a_table_is_a_member_that_extends_the_base(zoo):
    for name in zoo.table:
        cls = zoo.load(name)
        assert cls.__module__.startswith("persona_rm."), name
        if zoo.base is not None:
            module, _, attribute = zoo.base.partition(":")
            assert issubclass(cls, getattr(sys.modules[module], attribute)), name


def test_a_member_is_its_name_or_a_mapping():
    assert as_mapping("given") == {"name": "given"}
    assert ANNOTATORS.member("given") == ANNOTATORS.member({"name": "given"})
    cls, config = ANNOTATORS.member({"name": "given"})
    assert cls is GivenAnnotator
    assert config == GivenAnnotator.Config()
    for wrong in (7, None, [], {}, {"nam": "given"}, {"name": 7}):
        with pytest.raises(MemberError, match="annotator: a zoo member is its name, or a mapping with `name`"):
            ANNOTATORS.member(wrong)


def test_a_class_of_a_file_is_a_member_relative_to_the_file_that_names_it(mine, monkeypatch, tmp_path_factory):
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    cls, config = ANNOTATORS.member({"name": "./mine.py:Loud", "level": 2}, mine)
    assert (cls.__name__, cls.name, config.level) == ("Loud", "loud", 2)
    assert ANNOTATORS.load("mine.py:Loud", mine) is cls
    assert ANNOTATORS.load(f"{mine}/mine.py:Loud") is cls
    monkeypatch.chdir(mine)
    assert ANNOTATORS.load("./mine.py:Loud") is cls


def test_an_edited_file_is_loaded_again(mine):
    before = ANNOTATORS.load("./mine.py:Loud", mine)
    (mine / "mine.py").write_text(MINE.replace("level: int = 3", "level: int = 1"))
    after = ANNOTATORS.load("./mine.py:Loud", mine)
    assert (before.Config().level, after.Config().level) == (3, 1)


def test_an_absolute_name_means_the_same_in_another_process(mine):
    member = absolute_member({"name": "./mine.py:Loud", "level": 2}, mine)
    assert member == {"name": f"{mine.resolve()}/mine.py:Loud", "level": 2}
    assert absolute_name("given", mine) == "given"
    code = (
        "import json, sys; from persona_rm.annotators import ANNOTATORS; "
        "cls, config = ANNOTATORS.member(json.load(sys.stdin)); print(cls.name, config.level)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(member).encode(), capture_output=True, cwd="/", check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.stdout.decode().split() == ["loud", "2"]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("./gone.py:Loud", r"annotator: there is no file .*gone\.py; the path .* is relative to the file that names"),
        ("./mine.py:Lou", r"mine\.py has no class 'Lou'; its classes are: LoudConfig, Loud, .*did you mean 'Loud'\?"),
        ("./mine.py:MINE", r"has no class 'MINE'"),
        ("./mine.py:Alone", r"Alone of .*mine\.py does not extend persona_rm\.annotators\.base\.Annotator"),
        ("./mine.py:Half", r"Half of .*mine\.py does not define: read"),
        ("./mine.py:Nameless", r"Nameless of .*mine\.py has no `name`"),
        ("./empty.py:Loud", r"has no class 'Loud'; it defines no class"),
        ("./broken.py:Loud", r"broken\.py cannot be imported: SyntaxError: "),
        ("./failing.py:Loud", r"failing\.py cannot be imported: ZeroDivisionError: division by zero"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(mine, name, says):
    (mine / "empty.py").write_text("")
    (mine / "broken.py").write_text("class Loud(:")
    (mine / "failing.py").write_text("1 / 0")
    modules = set(sys.modules)
    with pytest.raises(MemberError, match=says):
        ANNOTATORS.member({"name": name}, mine)
    assert not [one for one in set(sys.modules) - modules if "broken" in one or one.endswith("failing")]


def test_an_unknown_name_lists_what_there_is_and_the_closest():
    with pytest.raises(UnknownName, match=r"annotator: no 'givn' in .*; there is: encoder, given, .*mean 'given'\?"):
        ANNOTATORS.member("givn")
    with pytest.raises(UnknownName, match=r"there is: [^;]*$"):
        ANNOTATORS.load("qqqqqq")


def test_a_wrong_setting_names_its_key_and_the_keys_that_there_are():
    with pytest.raises(MemberError) as caught:
        METHODS.member({"name": "pba", "beta": -1, "betta": 1}, where="dpo.mine.method")
    assert caught.value.key == "dpo.mine.method.betta"
    assert "there is no such key; there is: beta, chat," in caught.value.problem
    assert "did you mean 'beta'? (found 1); beta: Input should be" in caught.value.problem


def test_the_table_wins_over_files_and_entry_points():
    zoo = Registry("persona_rm.tests", {"odd.py:Name": "persona_rm.annotators.given:GivenAnnotator"})
    assert zoo.load("odd.py:Name") is GivenAnnotator
