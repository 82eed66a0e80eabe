"""An edit of a module runs again exactly the stages whose work imports it, and those after them."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from persona_rm.construct.config import ConstructConfig
from persona_rm.construct.job import AnnotatorSpec, BuildJob
from persona_rm.construct.job.imported_code import FOLDER, ImportedCode
from persona_rm.construct.job.stage_keys import PART, keys_of, work_of
from persona_rm.sources import SOURCES

STAGES = (
    "raw", "clean", "unique", "annotate", "sides", "pair", "index", "search", "persona", "demo", "mix", "split",
    "emit",
)  # fmt: skip
BUILDS = {
    "encoder": ("encoder", {}),
    "llm": ("llm", {}),
    "described": ("encoder", {"demo": {"by": "llm"}}),
    "mixed": ("encoder", {"universal": [{"name": "pku_saferlhf", "path": "rows.jsonl"}]}),
}
"""Name of a build -> (annotator, settings)."""
EVERY = dict.fromkeys(BUILDS, "")
EDITS = {
    "types.py": dict.fromkeys(BUILDS, "raw"),
    "sources/reddit.py": dict.fromkeys(BUILDS, "raw"),
    "construct/stages/raw_stage.py": dict.fromkeys(BUILDS, "raw"),
    "construct/cleaning/pii.py": dict.fromkeys(BUILDS, "clean"),
    "construct/cleaning/presidio.py": dict.fromkeys(BUILDS, "clean"),
    "construct/cleaning/lists.yaml": dict.fromkeys(BUILDS, "clean"),
    "construct/stages/unique_stage.py": dict.fromkeys(BUILDS, "unique"),
    "construct/stages/annotate_stage.py": dict.fromkeys(BUILDS, "annotate"),
    "annotators/encoder_thresholds.yaml": dict.fromkeys(BUILDS, "annotate") | {"llm": ""},
    "backends/minilm.py": dict.fromkeys(BUILDS, "annotate") | {"llm": ""},
    "annotators/prompted.yaml": EVERY | {"llm": "annotate"},
    "annotators/parse_levels.py": EVERY | {"llm": "annotate"},
    "backends/vllm_engine.py": EVERY | {"llm": "annotate", "described": "demo"},
    "construct/split/sides.py": dict.fromkeys(BUILDS, "sides"),
    "construct/pairing/kmeans.py": dict.fromkeys(BUILDS, "pair"),
    "construct/pairing/rules.py": dict.fromkeys(BUILDS, "pair"),
    "construct/search/packing.py": dict.fromkeys(BUILDS, "index"),
    "construct/search/kernels.py": dict.fromkeys(BUILDS, "search"),
    "construct/search/personas.py": dict.fromkeys(BUILDS, "search"),
    "construct/demo.yaml": dict.fromkeys(BUILDS, "demo"),
    "construct/mix.py": dict.fromkeys(BUILDS, "mix"),
    "sources/universal/pku_saferlhf.py": EVERY | {"mixed": "mix"},
    "construct/split/testset.py": dict.fromkeys(BUILDS, "split"),
    "construct/split/curate.py": dict.fromkeys(BUILDS, "split"),
    "io/alignx_format.py": dict.fromkeys(BUILDS, "emit"),
    "annotators/http.py": EVERY,
    "construct/card/readme.py": EVERY,
    "construct/config.py": EVERY,
    "construct/job/build.py": EVERY,
    "construct/job/stage.py": EVERY,
    "construct/job/worker_progress.py": EVERY,
    "io/progress_bar.py": EVERY,
    "methods/pba.py": EVERY,
    "simulator/simulator.py": EVERY,
    "sources/stackexchange.py": EVERY,
}
"""File of the package -> for each build the first stage that an edit runs again, "" for none."""

KEYS = """
import json, sys
from pathlib import Path
from persona_rm.construct.config import ConstructConfig
from persona_rm.construct.job import AnnotatorSpec, BuildJob
from persona_rm.construct.job.imported_code import FOLDER
from persona_rm.construct.job.stage_keys import keys_of
from persona_rm.sources import SOURCES
from persona_rm.space import load_space

out, edits, builds = Path(sys.argv[1]), json.loads(sys.argv[2]), json.loads(sys.argv[3])
(out / "rows.jsonl").write_text("{}")
space, cls = load_space(), SOURCES.load("reddit")
source = cls(cls.Config(path=str(out / "rows.jsonl")), space)


def keys():
    jobs = {
        name: BuildJob(source, AnnotatorSpec(annotator, {}), ConstructConfig(**settings), space, 0, out)
        for name, (annotator, settings) in builds.items()
    }
    return {name: keys_of(job) for name, job in jobs.items()}


found = {"": keys()}
for file in edits:
    path = FOLDER / file
    before = path.read_bytes()
    path.write_bytes(before + b"\\n# edited\\n")
    found[file] = keys()
    path.write_bytes(before)
print(json.dumps(found))
"""


def copied(folder):
    """A copy of the package without its assets, and the environment in which it is imported."""
    shutil.copytree(FOLDER, folder / FOLDER.name, ignore=shutil.ignore_patterns("__pycache__", "assets"))
    return {**os.environ, "PYTHONPATH": str(folder), "PERSONA_RM_SALT": "the same in every run"}


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """File that was edited ("" for none) -> build -> stage -> key, from a process that edits its own copy."""
    folder, out = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("out")
    builds = json.dumps(BUILDS).replace("rows.jsonl", str(out / "rows.jsonl"))
    command = [sys.executable, "-c", KEYS, str(out), json.dumps([*EDITS]), builds]
    done = subprocess.run(command, cwd=out, env=copied(folder), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("file", EDITS)
def test_an_edit_runs_exactly_the_right_stages_again(keys, file):
    for build, first in EDITS[file].items():
        before, after = keys[""][build], keys[file][build]
        assert tuple(before) == STAGES
        changed = tuple(stage for stage in STAGES if after[stage] != before[stage])
        assert changed == (STAGES[STAGES.index(first) :] if first else ()), (build, file)


def job(space, out, source=None, **settings):
    (out / "rows.jsonl").write_text("{}")
    cls = SOURCES.load("reddit")
    source = source or cls(cls.Config(path=str(out / "rows.jsonl")), space)
    return BuildJob(source, AnnotatorSpec("encoder", {}), ConstructConfig(**settings), space, 0, out)


def test_no_stage_depends_on_what_schedules_it_or_on_the_card(space, tmp_path):
    code = ImportedCode()
    for name, work in work_of(job(space, tmp_path, demo={"by": "llm"})).items():
        files = {file.relative_to(FOLDER).as_posix() for file in code.files(work)}
        assert not [file for file in files if file.startswith(("construct/job/", "construct/card/"))], name
        assert "construct/config.py" not in files, f"{name}: settings are in the key by value"


def test_settings_and_work_are_given_for_the_same_stages(space, tmp_path):
    assert tuple(work_of(job(space, tmp_path))) == tuple(PART) == STAGES


def test_the_file_of_a_source_from_elsewhere_counts(space, tmp_path):
    def keys_with(text):
        path = tmp_path / "own_source.py"
        path.write_text(f"from persona_rm.sources.reddit import RedditSource\nclass Own(RedditSource):\n    {text}\n")
        code = compile(path.read_text(), str(path), "exec")
        names = {"__name__": "own_source"}
        sys.modules["own_source"] = module = type(sys)("own_source")
        module.__file__ = str(path)
        exec(code, names)
        (tmp_path / "rows.jsonl").write_text("{}")
        source = names["Own"](names["Own"].Config(path=str(tmp_path / "rows.jsonl")), space)
        return keys_of(job(space, tmp_path, source))

    try:
        first, second, again = (keys_with(text) for text in ("limit = 1", "limit = 2", "limit = 1"))
    finally:
        sys.modules.pop("own_source", None)
    assert first == again
    assert not {*first.values()} & {*second.values()}


def test_import_statements_are_followed_also_in_functions_but_not_for_type_checking(tmp_path):
    package = tmp_path / "persona_rm"
    files = {
        "__init__.py": "", "a/__init__.py": "from persona_rm.b import thing", "b.py": "thing = 'words.yaml'",
        "words.yaml": "x", "unused.yaml": "x", "c.py": "import persona_rm.d", "d.py": "", "e.py": "", "f.py": "",
        "work.py": (
            "from typing import TYPE_CHECKING\n"
            "from persona_rm import c\n"
            "if TYPE_CHECKING:\n    from persona_rm import e\nelse:\n    from persona_rm import f\n"
            "def work():\n    from persona_rm.a import thing\n"
        ),
    }  # fmt: skip
    for name, text in files.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text)
    names: dict[str, object] = {}
    exec(compile(files["work.py"].partition("from")[0] + "def work(): ...", str(package / "work.py"), "exec"), names)
    found = {file.relative_to(package).as_posix() for file in ImportedCode(package).files([names["work"]])}
    assert found == {"work.py", "c.py", "d.py", "f.py", "a/__init__.py", "b.py", "words.yaml"}


@pytest.mark.slow
def test_a_build_with_an_edited_search_goes_on_from_the_search(tmp_path):
    environment = copied(tmp_path / "copy") | {"PYTHONWARNINGS": "ignore"}
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "name: edited\nsource: {name: simulator, users: 20, test_users: 2, posts: 60}\n"
        "build: {threshold: 0.9, min_items: 2, shard: 30}\n"
    )
    command = [sys.executable, "-m", "persona_rm.cli", "build", str(recipe), f"out={tmp_path / 'out'}"]

    def skipped():
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode in (0, 3), done.stderr[-2000:]
        return [line.split()[1].rstrip(":") for line in done.stderr.splitlines() if "skipped" in line]

    assert skipped() == []
    with (tmp_path / "copy" / FOLDER.name / "construct" / "search" / "kernels.py").open("a") as file:
        file.write("\n# edited\n")
    assert skipped() == ["raw", "clean", "unique", "annotate", "pair", "index"]
    assert skipped() == [stage for stage in STAGES if stage != "sides"]
    assert list(Path(tmp_path / "out" / "data").glob("*.parquet"))
