"""The data card: its figures where they are known, what it says first, and that the Hub's tools read it."""

import json
from itertools import pairwise

import numpy as np
import pytest
import yaml

from persona_rm.construct.card import data_card as card
from persona_rm.construct.card.data_card import DataCard, PiiCard, RowFlow, SourceCard, SplitCard
from persona_rm.construct.card.figure_counts import ExampleTally, LevelTally
from persona_rm.construct.card.readme import TOP, findings, readme
from persona_rm.errors import DataError
from persona_rm.io.alignx_format import write_examples
from persona_rm.space.space import table
from persona_rm.types import Drop, Example, Pair, Persona, Ugc

FLOWS = (
    RowFlow(what="post", before=("posts_in",), after=("posts_usable",)),
    RowFlow(what="pair", before=("posts_usable",), after=("pairs",)),
    RowFlow(what="example", before=("pairs",), after=("train", "test")),
)
ROWS = {"posts_in": 60, "posts_usable": 50, "pairs": 45, "train": 30, "test": 10}
DROPS = {"post": {"too short | or long": 6, "two\nlines": 4}, "pair": {"no contrast": 5}, "example": {"alone <b>": 5}}


def example_rows(space, n, start=0):
    """`n` examples whose persona agrees with the pair on a dimension or more."""
    random = np.random.default_rng(start)
    for i in range(start, start + n):
        ways = random.choice([-1, 0, 1], size=len(space), p=[0.1, 0.8, 0.1])
        ways[i % len(space)] = 1
        said = tuple(int(way) for way in ways)
        persona = Persona(
            f"u{i}",
            ugc=tuple(Ugc(f"post {j}", f"comment {i} {j}", said) for j in range(4 + i % 3)),
            pairs=tuple(Pair(f"post {j}", "this", "that", said) for j in range(4)) if i % 2 else (),
            demo="A person who likes law.",
        )
        yield Example(f"e{i}", f"post {i}", "chosen " * (i % 4 + 1), "rejected text", said, persona, "reddit")


def example_card(space, **changed):
    """A card of a small job, as the job fills it."""
    levels, examples = LevelTally(len(space)), ExampleTally(len(space))
    random = np.random.default_rng(0)
    levels.add(random.choice([1, 2, 3], size=(300, len(space)), p=[0.05, 0.8, 0.15]))
    for split, n, start in (("train", 30, 0), ("test", 10, 30)):
        for row in example_rows(space, n, start):
            examples.add(row, split)
    fields = {
        "name": "Forum | examples",
        "command": "persona-rm build recipes/build.yaml",
        "recipe": {"name": "build", "seed": 7, "source": {"name": "reddit", "path": "dump.zst"}},
        "source": "reddit",
        "annotator": "encoder",
        "space": space.name,
        "seed": 7,
        "versions": {"python": "3.11", "persona_rm": "0.1.0"},
        "sources": (SourceCard(name="reddit", licence="CC-BY-4.0", fingerprint="ab12cd", files=2, rows=64),),
        "rows": ROWS,
        "flows": FLOWS,
        "drops": DROPS,
        "pii": PiiCard(replaced={"email": 3}, texts=640, final_check={}, not_caught=("names in running text",)),
        "levels": levels.figures(space.ids),
        "similarity": {"pass_rate": 0.25},
        "examples": examples.figures(space.ids),
        "splits": {
            split: SplitCard(rows=n, files=f"data/{split}-*.parquet", examples=examples.figures(space.ids, split))
            for split, n in (("train", 30), ("test", 10))
        },
        "dimensions": tuple(table(space)),
    }
    return DataCard(**(fields | changed))


def front(text):
    """The YAML head of a card."""
    head, _, rest = text.removeprefix("---\n").partition("\n---\n")
    assert rest.startswith("# ")
    return yaml.safe_load(head)


def test_reasons_are_counted_by_kind_and_tables_add_up():
    drops = [Drop("post", "a", "x"), Drop("post", "b", "y"), Drop("post", "c", "y"), Drop("pair", "d", "x")]
    found = card.reasons(iter(drops))
    assert found == {"post": {"y": 2, "x": 1}, "pair": {"x": 1}}
    assert list(found["post"]) == ["y", "x"]
    assert card.merged([card.reasons(drops[:2]), card.reasons(drops[2:])]) == found


def test_neutral_levels_match_themselves_but_say_nothing():
    found = card.similarity(np.full((1, 90), 2), 55, seed=0)
    assert found["pass_rate"] == 1.0
    assert found["similarity_non_neutral"] == 0.0
    same = card.similarity([(2,) * 80 + (3,) * 10], 55, seed=0)
    assert same["similarity_non_neutral"] == 1.0
    assert card.similarity(np.empty((0, 90)), 55, seed=0) == {}


def test_counts_that_do_not_add_up_are_an_error():
    card.balance(ROWS, DROPS, FLOWS)
    with pytest.raises(DataError, match="post counts do not add up: 60 posts_in, 50 posts_usable, 0 dropped"):
        card.balance(ROWS, {k: v for k, v in DROPS.items() if k != "post"}, FLOWS)
    with pytest.raises(DataError, match="drops of 'mirrored' belong to no flow"):
        card.balance(ROWS, DROPS | {"mirrored": {"x": 1}}, FLOWS)
    with pytest.raises(DataError, match="no count of test"):
        card.balance({k: v for k, v in ROWS.items() if k != "test"}, DROPS, FLOWS)


def test_the_front_matter_is_yaml_and_names_only_splits_with_rows(space):
    head = front(readme(example_card(space)))
    assert head["license"] == "other"
    assert head["size_categories"] == ["n<1K"]
    files = [{"split": s, "path": f"data/{s}-*.parquet"} for s in ("train", "test")]
    assert head["configs"] == [{"config_name": "default", "data_files": files}]
    made = example_card(space, licence="CC-BY-SA-4.0")
    head = front(readme(made.model_copy(update={"splits": made.splits | {"test": SplitCard(rows=0, files="x")}})))
    assert [entry["split"] for entry in head["configs"][0]["data_files"]] == ["train"]
    assert head["license"] == "cc-by-sa-4.0"
    head = front(readme(example_card(space, splits={}, licence="Ours: internal only")))
    assert "configs" not in head
    assert (head["license"], head["license_name"]) == ("other", "ours-internal-only")


@pytest.mark.parametrize(("rows", "size"), [(999, "n<1K"), (1000, "1K<n<10K"), (1_311_622, "1M<n<10M")])
def test_size_categories(space, rows, size):
    made = example_card(space, splits={"train": SplitCard(rows=rows, files="data/*.parquet")})
    assert front(readme(made))["size_categories"] == [size]


def test_a_clean_job_says_so_in_its_first_lines(space):
    text = readme(example_card(space))
    first = text.split("# ", 1)[1].splitlines()[2]
    assert first == "> **This build finished without errors.** Quarantined: 0 of 2 files, 0 of 64 rows."
    assert findings(example_card(space)) == []


def test_what_went_wrong_comes_first(space):
    bad = SourceCard(
        name="dump", fingerprint="x", files=4, rows=900, quarantined_rows=7, quarantined_files={"b.zst": "cut | off"}
    )
    pii = PiiCard(replaced={}, texts=1, final_check={"email": 2}, not_caught=())
    made = example_card(space, errors=("3 shards failed",), sources=(bad,), pii=pii, rows=ROWS | {"test": 9})
    text = readme(made)
    top = text.split("# ", 1)[1].split("## ")[0]
    for words in (
        "THIS BUILD HAD 1 ERROR.", "3 shards failed", "1 of 4 files, 7 of 900 rows", "b.zst: cut \\| off",
        "licence not stated", "found 2 email", "example counts do not add up",
    ):  # fmt: skip
        assert words in top
    assert "removal was not run" in readme(example_card(space, pii=None))
    assert "final check was not run" in readme(
        example_card(space, pii=PiiCard(replaced={}, texts=1, final_check=None, not_caught=()))
    )


def test_examples_and_splits_that_differ_are_a_finding(space):
    made = example_card(space, splits={"train": SplitCard(rows=39, files="data/*.parquet")})
    assert findings(made) == ["40 examples were counted, the splits hold 39"]
    assert "no example came out" in findings(example_card(space, splits={}, examples=None))


def test_every_reason_licence_dimension_and_figure_appears(space):
    made = example_card(space, figures={"rows": "figures/rows.png"}, figures_missing="needs {matplotlib}")
    text = readme(made)
    for words in ("too short \\| or long", "two lines", "no contrast", "alone &lt;b&gt;", "CC-BY-4.0", "ab12cd"):
        assert words in text
    for words in ("names in running text", "persona-rm build recipes/build.yaml", "path: dump.zst", "load_dataset("):
        assert words in text
    assert "![rows](figures/rows.png)" in text
    assert "No picture of correlation: needs {matplotlib}." in text
    for dimension in space.dimensions:
        assert f"| {dimension.positive.label} | {dimension.negative.label} |" in text


def test_every_table_has_one_width(space):
    lines = readme(example_card(space)).splitlines()
    widths = [line.replace("\\|", "").count("|") if line.startswith("|") else 0 for line in lines]
    assert all(a == b or not a or not b for a, b in pairwise(widths))
    assert max(widths) == 12


def test_a_job_without_any_example_has_a_card_too(space):
    empty = {"levels": None, "examples": None, "splits": {}, "similarity": {}, "pii": None, "sources": (), "rows": {}}
    text = readme(example_card(space, **empty, flows=(), drops={}))
    assert "no example came out" in text
    assert "None." in text


def test_the_card_is_plain_json_and_a_wrong_one_is_refused(space):
    made = example_card(space)
    data = json.loads(json.dumps(made.model_dump(mode="json")))
    assert card.checked(data) == made
    assert readme(data) == readme(made)
    with pytest.raises(DataError, match=r"sources\.0\.licens: Extra"):
        card.checked(data | {"sources": [data["sources"][0] | {"licens": "mit"}]})


def test_a_long_table_is_cut_and_says_so(space):
    made = example_card(space)
    many = made.examples.model_copy(update={"by_source": {f"forum {i}": 1 for i in range(TOP + 7)}})
    text = readme(made.model_copy(update={"examples": many}))
    assert "7 more in card.json." in text


@pytest.mark.slow
def test_the_hubs_tools_load_the_folder(space, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    datasets = pytest.importorskip("datasets")
    folder = tmp_path / "made"
    (folder / "data").mkdir(parents=True)
    for name, n, start in (("train-00000", 20, 0), ("train-00001", 10, 20), ("test-00000", 10, 30)):
        write_examples(folder / "data" / f"{name}.parquet", example_rows(space, n, start), space)
    (folder / "README.md").write_text(readme(example_card(space)), encoding="utf-8")
    (folder / "card.json").write_text(example_card(space).model_dump_json(), encoding="utf-8")
    data = datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
    assert {split: len(rows) for split, rows in data.items()} == {"train": 30, "test": 10}
    columns = {"prompt", "chosen", "rejected", "Preference Direction", "Demographic Information"}
    assert columns | {"User-Generated Content", "Pair-wise Comparative Feedback"} <= set(data["train"].column_names)
    assert len(data["test"][0]["Preference Direction"]) == len(space)
