"""Runs whose infer stage is done, on tiny worlds and on built examples."""

import io
import json
from dataclasses import replace

from rich.console import Console

from persona_rm.io.alignx_format import write_examples
from persona_rm.pipeline.run import RunFolder
from persona_rm.pipeline.stages.infer import run_infer
from persona_rm.profiles import open_store
from persona_rm.recipe import Recipe
from persona_rm.types import Example, Pair, Persona, Ugc

SOURCE = {"name": "simulator", "users": 24, "test_users": 5, "posts": 60}
FAST = {"name": "posterior", "classes": [1]}


def run_of(folder, **recipe):
    plan = Recipe(**{"name": "a", "source": SOURCE, "out": str(folder / "run"), **recipe})
    return RunFolder(plan, plan.folder, Console(file=io.StringIO(), width=200))


def infer(folder, run=None, **config):
    """A run whose infer stage is done."""
    section = {"inferrer": FAST, "population": 24, "items": 6, **config}
    run = run_of(folder, infer=section) if run is None else run_of(folder, **{**run, "infer": section})
    run_infer(run, run.recipe.infer)
    return run


def rows_of(run):
    return [json.loads(line) for line in (run.folder / "infer" / "directions.jsonl").read_text().splitlines()]


def states_of(run):
    with open_store(str(run.folder / "infer" / "profiles.arrow")) as store:
        return store.get(sorted(store.ids()))


def real(folder, space, own):
    """A run on built examples of a source that is no world; `own(i)`: of whom the i-th held-out example is."""
    recipe = {"source": {"name": "jsonl", "path": "none.jsonl"}, "annotator": {"name": "simulator"}}
    data = run_of(folder, **recipe).recipe.folder / "build" / "data"
    up = tuple(int(dim == 0) for dim in range(len(space)))

    def example(i, side, person):
        pairs = (Pair(f"post {i}", f"yes {i}", f"no {i}", up),)
        return Example(f"{side}{i}", f"p{i}", "good", "bad", up, replace(person, pairs=pairs), group=f"{side}{i}")

    def somebody(i):
        return Persona(f"train{i}", (Ugc(f"post {i}", f"said {i}", up),), directions=tuple(-d for d in up))

    write_examples(data / "train-00000.parquet", [example(i, "train", somebody(i)) for i in range(24)], space)
    write_examples(data / "test-00000.parquet", [example(i, "test", own(i)) for i in range(3)], space)
    return recipe


def users_file(folder, space, *names):
    """Each with one item that says yes to the first dimension."""
    path, up = folder / "users.jsonl", [1, *[0] * (len(space) - 1)]
    item = {"prompt": "p", "comment": "c", "directions": up}
    path.write_text("".join(json.dumps({"user_id": name, "ugc": [item]}) + "\n" for name in names))
    return str(path)
