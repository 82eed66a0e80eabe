"""The Ray Data job end to end on a tiny source: counts, reasons, quarantine, resuming, determinism."""

import json
from dataclasses import replace

import datasets
import numpy as np
import pytest

from persona_rm.config import Config
from persona_rm.construct.cleaning import CleanConfig
from persona_rm.construct.config import ConstructConfig
from persona_rm.construct.job import AnnotatorSpec, BuildJob, build
from persona_rm.construct.job.stage import Stages
from persona_rm.construct.pairing.rules import consistent
from persona_rm.construct.split.leakage import check
from persona_rm.construct.split.sides import SplitConfig
from persona_rm.construct.split.testset import TestConfig
from persona_rm.errors import DataError, MemberError, UnknownName
from persona_rm.io.alignx_format import read_examples
from persona_rm.sources.base import Source
from persona_rm.types import Comment, Thread

CONFIG = ConstructConfig(n_ugc=4, n_pairs=2, min_items=2, threshold=0.3, shard=10, workers=1)
"""One worker: to start a second takes longer than all the work of these builds."""
STAGES = ("raw", "clean", "unique", "annotate", "pair", "index", "search", "persona", "demo", "mix", "split", "emit")
GIVEN = AnnotatorSpec("given", {})


class Tiny(Source):
    """Threads with known levels; the first one is empty, the second has one reply, a third repeats itself."""

    name = "tiny"

    def __init__(self, space, n=40, mark=""):
        super().__init__(Config(), space)
        self.n, self.mark, self.read = n, mark, 0

    def threads(self, on_bad):
        self.read += 1
        on_bad(DataError("must be text, found 'a secret of a user'", file="tiny.jsonl", row=3, key="prompt"))
        yield Thread("empty", "tiny", "an empty thread", ())
        yield Thread("single", "tiny", "a post with one reply", (self._comment("single", 0),))
        again = self._comment("twice", 0)
        yield Thread(
            "twice", "tiny", "a post with an echo", (again, Comment("twice/1", again.text, levels=again.levels))
        )
        for t in range(self.n):
            yield Thread(f"t{t}", "tiny", f"post {t}", tuple(self._comment(f"t{t}", i) for i in range(3)))

    def _comment(self, thread, number):
        random = np.random.default_rng(list(f"{thread}/{number}".encode()))
        levels = tuple(random.choice([1, 2, 3], p=[0.2, 0.6, 0.2], size=len(self.space)).tolist())
        return Comment(f"{thread}/{number}", f"reply {number} under {thread}{self.mark}", levels=levels)

    def fingerprint(self):
        return f"{self.n} {self.mark}"


pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("cluster")]


def run(source, space, out, seed=0, **changes):
    return build(BuildJob(source, GIVEN, CONFIG.model_copy(update=changes), space, seed, out, "tiny"))


def examples(out, space, name="train"):
    found = (out / ("mirrored" if name == "mirrored" else "data")).glob(f"{name}-*.parquet")
    return sorted((e for file in found for e in read_examples(file, space)), key=lambda e: e.id)


def skipped(capfd):
    return capfd.readouterr().err.count("skipped")


@pytest.fixture(scope="module")
def built(space, tmp_path_factory, cluster):
    out = tmp_path_factory.mktemp("build")
    return out, run(Tiny(space), space, out)


def test_rows_in_are_rows_out_plus_reasons(built):
    rows, drops = built[1].card["rows"], built[1].card["drops"]
    assert rows["threads_in"] == 43
    assert rows["threads_usable"] == 42
    assert rows["responses_in"] == 123
    assert drops["post"] == {"empty thread": 1}
    assert drops["response"] == {"duplicate in its thread": 1}
    assert drops["pair"] == {"fewer than two usable responses": 2}
    assert rows["pairs"] == 40
    assert rows["examples"] == 40 - sum(drops.get("example", {}).values()) > 20


def test_bad_rows_are_quarantined_without_their_text_and_the_result_says_so(built):
    out, result = built
    (line,) = (out / "stages" / "raw" / "quarantine.jsonl").read_text().splitlines()
    body = json.loads(line)
    assert (body["file"], body["row"], body["key"]) == ("tiny.jsonl", 3, "prompt")
    assert "secret" not in line
    assert result.card["sources"][0]["quarantined_rows"] == 1
    assert not result.clean


def test_the_examples_are_an_alignx_file(built, space):
    found = examples(built[0], space)
    assert len(found) == built[1].card["rows"]["examples"]
    assert all(example.persona.user_id == f"lookalike-{example.id}" for example in found)
    assert all(example.persona.demo.startswith("A person who ") for example in found)


def test_the_card_is_written_as_text_and_figures_too(built):
    text = (built[0] / "README.md").read_text()
    assert "| post | empty thread | 1 |" in text
    assert json.loads((built[0] / "card.json").read_text())["rows"] == built[1].card["rows"]
    assert abs(built[1].card["levels"]["shares"]["none"] - 0.6) < 0.02
    for name in ("correlation", "directions", "levels", "personas", "rows"):
        assert (built[0] / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_mirrored_examples_are_of_users_who_choose_the_other_response_and_are_counted(built, space, capfd):
    out, plain = built
    before = examples(out, space)
    mirrored = run(Tiny(space), space, out, mirror=True)
    assert skipped(capfd) == STAGES.index("search")
    rows, drops = mirrored.card["rows"], mirrored.card["drops"]
    assert rows["mirrored"] == 40 - sum(drops.get("mirrored", {}).values()) > 20
    assert rows["examples"] == plain.card["rows"]["examples"]
    pairs, found = {example.group: example for example in examples(out, space)}, examples(out, space, "mirrored")
    assert list(pairs) and sorted(pairs.values(), key=lambda e: e.id) == before  # noqa: PT018 - one fact
    assert len(found) == rows["mirrored"]
    for example in found:
        if pair := pairs.get(example.group):
            assert (example.chosen, example.rejected) == (pair.rejected, pair.chosen)
            assert example.directions == tuple(-d for d in pair.directions)
        assert consistent(example.directions, [item.directions for item in example.persona.items])
    run(Tiny(space), space, out)
    assert examples(out, space, "mirrored") == []


def test_a_second_run_skips_and_a_change_redoes_what_depends_on_it(built, space, capfd):
    out, _ = built
    before, source = examples(out, space), Tiny(space)
    capfd.readouterr()
    run(source, space, out)
    assert source.read == 0
    assert skipped(capfd) == len(STAGES)
    assert examples(out, space) == before
    run(Tiny(space), space, out, n_ugc=3)
    assert skipped(capfd) == STAGES.index("search")
    run(Tiny(space, mark="!"), space, out)
    assert skipped(capfd) == 0


def files(folder):
    """The published files, byte for byte, so that the order of the rows counts too."""
    return {path.name: path.read_bytes() for path in folder.glob("data/*.parquet")}


def test_the_same_seed_gives_the_same_rows_whatever_the_batches_files_and_workers(space, tmp_path):
    one = run(Tiny(space, 12), space, tmp_path / "a", 3)
    two = run(Tiny(space, 12), space, tmp_path / "b", 3, annotate_batch=5, workers=2, shard=3)
    assert examples(tmp_path / "a", space) == examples(tmp_path / "b", space) != []
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert one.card["drops"] == two.card["drops"]


def test_a_sample_is_drawn_by_ids_and_counted(space, tmp_path):
    result = run(Tiny(space), space, tmp_path, sample=0.5)
    rows = result.card["rows"]
    assert rows["threads_read"] == 43
    assert 10 < rows["threads_in"] < 33
    assert result.card["drops"]["sample"] == {"not drawn": 43 - rows["threads_in"]}


def test_a_second_build_in_one_folder_is_refused(space, tmp_path):
    with Stages(tmp_path / "stages").locked(), pytest.raises(DataError, match=r"another build works in this folder"):
        run(Tiny(space, 12), space, tmp_path)


def test_comments_that_cannot_be_read_are_counted_and_too_many_stop_the_job(space, tmp_path):
    class Bare(Tiny):
        def threads(self, on_bad):
            yield from super().threads(on_bad)
            yield Thread("t", "tiny", "post", (Comment("t/1", "a reply without levels"),))

    result = run(Bare(space, 12), space, tmp_path / "some")
    (reason,) = [why for why in result.card["drops"]["response"] if why.startswith("not annotated")]
    assert result.card["drops"]["response"][reason] == 1
    assert any("could not be annotated" in error for error in result.card["errors"])
    with pytest.raises(DataError, match=r"could not read 1 of 39 responses, more than max_errors \(1%\)"):
        run(Bare(space, 12), space, tmp_path / "many", max_errors=0.01)


def test_no_thread_at_all(space, tmp_path):
    class Nothing(Tiny):
        def threads(self, on_bad):
            yield from ()

    with pytest.raises(DataError, match="gave no thread"):
        run(Nothing(space), space, tmp_path)


def test_too_little_for_an_example_says_why(space, tmp_path):
    with pytest.raises(DataError, match="no example came out"):
        run(Tiny(space, 2), space, tmp_path, min_items=50)
    assert "fewer than 50 similar" in (tmp_path / "README.md").read_text()


def test_a_split_keeps_posts_and_authors_apart_and_the_dataset_loads(space, tmp_path, monkeypatch):
    """The salt is given: of forty authors, a random one now and then leaves none on the test side."""
    monkeypatch.setenv("PERSONA_RM_SALT", "the same in every run")

    class Written(Tiny):
        def _comment(self, thread, number):
            comment = super()._comment(thread, number)
            return replace(comment, author=f"u{sum(f'{thread}/{number}'.encode()) % 40}")

    result = run(
        Written(space, 400), space, tmp_path, split=SplitConfig(test=0.3), persona="author-then-similar",
        testset=TestConfig(per_cell=1, n_ugc=1, n_pairs=0), pairs_per_post=2,
    )  # fmt: skip
    train, test = examples(tmp_path, space), examples(tmp_path, space, "test")
    assert len(train) > len(test) > 5
    report = check(train, test, None)
    assert {finding.kind for finding in report.leaks} == set()
    assert not [error for error in result.card["errors"] if "share" in error]
    cases = datasets.load_dataset(str(tmp_path), "alignx_test", split="test", cache_dir=str(tmp_path / "cache"))
    assert set(cases["direction"]) <= {"positive", "negative"}
    data = datasets.load_dataset(str(tmp_path), cache_dir=str(tmp_path / "cache"))
    assert {name: split.num_rows for name, split in data.items()} == {"train": len(train), "test": len(test)}
    assert {"author", "lookalike"} >= {row.split("-")[0] for row in data["train"]["user_id"]}
    assert all(len(author) == 16 for author in data["train"]["author"] if author), "hashed"


def test_universal_values_are_mixed_in_and_counted(space, tmp_path):
    rows = [
        {"prompt": f"question {i} for a@b.org", "response_0": f"a safe answer {i}", "response_1": f"an unsafe one {i}",
         "is_response_0_safe": True, "is_response_1_safe": False, "better_response_id": 0, "safer_response_id": 0}
        for i in range(12)
    ]  # fmt: skip
    path = tmp_path / "pku.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"cut')
    result = run(Tiny(space, 12), space, tmp_path / "out", universal=({"name": "pku_saferlhf", "path": str(path)},))
    found = [example for example in examples(tmp_path / "out", space) if example.source == "pku_saferlhf"]
    assert len(found) == result.card["rows"]["universal"] == 12
    assert all(example.directions[space.index("harmlessness")] == 1 for example in found)
    assert not any("@" in example.prompt for example in found)
    assert result.card["sources"][1]["quarantined_rows"] == 1


def test_a_wrong_universal_set_is_refused_before_anything_runs(space, tmp_path):
    with pytest.raises(UnknownName, match=r"no 'nope' in persona_rm.universal; there is: helpsteer2, pku_saferlhf"):
        run(Tiny(space, 12), space, tmp_path, universal=({"name": "nope"},))
    with pytest.raises(MemberError, match=r"build\.universal\.paht: there is no such key"):
        run(Tiny(space, 12), space, tmp_path, universal=({"name": "helpsteer2", "path": "x", "paht": "x"},))
    assert not list(tmp_path.rglob("*.parquet"))


def test_what_others_said_is_dropped_exactly_and_nearly(space, tmp_path):
    said = " ".join(f"word{i}" for i in range(40))

    class Echo(Tiny):
        def threads(self, on_bad):
            yield from super().threads(on_bad)
            for t, text in enumerate([said, said.upper(), said + " indeed", "something else entirely, friends"]):
                levels = self._comment("echo", t).levels
                yield Thread(f"echo{t}", "tiny", f"echo post {t}", (Comment(f"echo{t}/0", text, levels=levels),))

    drops = run(Echo(space, 12), space, tmp_path, clean=CleanConfig(near_duplicates=0.8)).card["drops"]["response"]
    assert drops["the same as another response"] == 1
    assert drops["nearly the same as another response"] >= 1
    off = run(Echo(space, 12), space, tmp_path, clean=CleanConfig(duplicates=False)).card["drops"]["response"]
    assert not [reason for reason in off if "another response" in reason]


def test_curation_keeps_so_many_and_counts_the_rest(space, tmp_path):
    result = run(Tiny(space), space, tmp_path, curate=10)
    assert len(examples(tmp_path, space)) == result.card["splits"]["train"]["rows"] == 10
    left = result.card["drops"]["curated"]["less informative than those kept"]
    assert left == result.card["rows"]["examples"] - 10


def test_asking_twice_makes_levels_that_differ_neutral(space, tmp_path):
    half = ((0.5, 0.0, 0.5), (0.0, 1.0, 0.0), (0.5, 0.0, 0.5))
    noisy = AnnotatorSpec("given", {"confusion": half})
    once = build(BuildJob(Tiny(space, 20), noisy, CONFIG, space, 0, tmp_path / "once", "tiny"))
    twice = build(
        BuildJob(Tiny(space, 20), noisy, CONFIG.model_copy(update={"retest": True}), space, 0, tmp_path / "b")
    )
    assert abs(once.card["levels"]["shares"]["none"] - 0.6) < 0.03
    assert abs(twice.card["levels"]["shares"]["none"] - 0.8) < 0.03, "half of what is read is a coin's fall"
    assert any("another wording" in key for key in twice.card["annotation"])
