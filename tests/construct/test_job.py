"""The Ray Data job end to end on a tiny source: counts, reasons, quarantine, resuming, determinism."""

import json

import numpy as np
import pytest

from persona_rm.config import Config
from persona_rm.construct.config import ConstructConfig
from persona_rm.construct.job import AnnotatorSpec, build
from persona_rm.construct.steps import consistent
from persona_rm.errors import DataError
from persona_rm.files import read_examples
from persona_rm.sources.base import Source
from persona_rm.sources.reddit import RedditSource
from persona_rm.types import Comment, Thread

CONFIG = ConstructConfig(n_ugc=4, n_pairs=2, min_items=2, threshold=0.3)
GIVEN = AnnotatorSpec("given", {})


class Tiny(Source):
    """Threads with known levels; the first one is empty, the second has one reply, a third repeats itself."""

    name = "tiny"

    def __init__(self, space, n=40, mark=""):
        super().__init__(Config(), space)
        self.n, self.mark, self.read = n, mark, 0

    def threads(self, on_bad):
        self.read += 1
        on_bad(DataError("must be text, found 'a secret of somebody'", file="tiny.jsonl", row=3, key="prompt"))
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


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def built(space, tmp_path_factory):
    out = tmp_path_factory.mktemp("build")
    return out, build(Tiny(space), GIVEN, CONFIG, space, 0, out)


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


def test_bad_rows_are_quarantined_without_their_text(built):
    (line,) = (built[0] / "raw" / "quarantine.jsonl").read_text().splitlines()
    body = json.loads(line)
    assert (body["file"], body["row"], body["key"]) == ("tiny.jsonl", 3, "prompt")
    assert "secret" not in line
    assert built[1].card["rows"]["bad_rows"] == 1


def test_the_examples_are_an_alignx_file(built, space):
    examples = list(read_examples(built[1].examples_path, space))
    assert len(examples) == built[1].card["rows"]["examples"]
    assert all(example.persona.user_id == f"lookalike-{example.id}" for example in examples)
    assert {example.group for example in examples} <= {f"t{t}" for t in range(40)}


def test_the_card_is_written_for_people_too(built):
    text = (built[0] / "README.md").read_text()
    assert "| post | empty thread | 1 |" in text
    assert json.loads((built[0] / "card.json").read_text())["rows"] == built[1].card["rows"]
    assert abs(built[1].card["levels"]["shares"]["none"] - 0.6) < 0.02


def test_mirrored_examples_are_of_people_who_choose_the_other_response_and_are_counted(built, space, capfd):
    out, plain = built
    config = CONFIG.model_copy(update={"mirror": True})
    mirrored = build(Tiny(space), GIVEN, config, space, 0, out)
    assert capfd.readouterr().err.count("skipped") == 5
    rows, drops = mirrored.card["rows"], mirrored.card["drops"]
    assert rows["mirrored"] == 40 - sum(drops.get("mirrored", {}).values()) > 20
    assert rows["examples"] == plain.card["rows"]["examples"]
    pairs = {example.group: example for example in read_examples(mirrored.examples_path, space)}
    found = list(read_examples(out / "mirrored.jsonl", space))
    assert len(found) == rows["mirrored"]
    for example in found:
        if pair := pairs.get(example.group):
            assert (example.chosen, example.rejected) == (pair.rejected, pair.chosen)
            assert example.directions == tuple(-d for d in pair.directions)
        assert consistent(example.directions, [item.directions for item in example.persona.items])
    build(Tiny(space), GIVEN, CONFIG, space, 0, out)
    assert not (out / "mirrored.jsonl").exists()


def test_a_second_run_skips_and_a_change_redoes_what_depends_on_it(built, space, capfd):
    out, first = built
    before = first.examples_path.read_bytes()
    source = Tiny(space)
    again = build(source, GIVEN, CONFIG, space, 0, out)
    assert source.read == 0
    assert capfd.readouterr().err.count("skipped") == 5
    assert again.examples_path.read_bytes() == before
    build(Tiny(space), GIVEN, CONFIG.model_copy(update={"n_ugc": 3}), space, 0, out)
    assert capfd.readouterr().err.count("skipped") == 4
    build(Tiny(space, mark="!"), GIVEN, CONFIG, space, 0, out)
    assert capfd.readouterr().err.count("skipped") == 0


def test_the_same_seed_gives_the_same_file_whatever_the_batches(space, tmp_path):
    one = build(Tiny(space, 12), GIVEN, CONFIG, space, 3, tmp_path / "a")
    other = CONFIG.model_copy(update={"annotate_batch": 5, "workers": 2})
    two = build(Tiny(space, 12), GIVEN, other, space, 3, tmp_path / "b")
    assert one.examples_path.read_bytes() == two.examples_path.read_bytes()


def test_a_killed_stage_is_done_again(space, tmp_path):
    whole = build(Tiny(space, 12), GIVEN, CONFIG, space, 3, tmp_path).examples_path.read_bytes()
    (tmp_path / "pair" / "_done.json").unlink()
    (tmp_path / "pair" / "left-over.parquet").write_bytes(b"cut")
    assert build(Tiny(space, 12), GIVEN, CONFIG, space, 3, tmp_path).examples_path.read_bytes() == whole


def test_comments_without_levels_fail_by_name(space, tmp_path):
    class Bare(Tiny):
        def threads(self, on_bad):
            yield Thread("t", "tiny", "post", (Comment("t/1", "a reply without levels"),))

    with pytest.raises(DataError, match="'t/1' carries no levels"):
        build(Bare(space), GIVEN, CONFIG, space, 0, tmp_path)


def test_no_thread_at_all(space, tmp_path):
    class Nothing(Tiny):
        def threads(self, on_bad):
            yield from ()

    with pytest.raises(DataError, match="gave no thread"):
        build(Nothing(space), GIVEN, CONFIG, space, 0, tmp_path)


def test_too_little_for_an_example_says_why(space, tmp_path):
    with pytest.raises(DataError, match="no example came out"):
        build(Tiny(space, 2), GIVEN, CONFIG.model_copy(update={"min_items": 50}), space, 0, tmp_path)
    assert "fewer than 50 similar" in (tmp_path / "README.md").read_text()


def test_rows_that_are_no_utf8_or_cut_are_counted(space, tmp_path):
    path = tmp_path / "threads.jsonl"
    good = [
        {"thread_id": f"r{t}", "source": "reddit/x", "prompt": f"post {t}", "responses": [{"text": text}]}
        for t, text in enumerate(["I love watching football on Sundays", "Books are the best thing ever"])
    ]
    lines = [json.dumps(row).encode() for row in good]
    path.write_bytes(b"\n".join([lines[0], b'{"thread_id": "\xff\xfe"}', b'{"cut', lines[1]]) + b"\n")
    source = RedditSource(RedditSource.Config(path=str(path)), space)
    out = tmp_path / "out"
    with pytest.raises(DataError, match="carries no levels"):
        build(source, GIVEN, CONFIG, space, 0, out)
    rows = [json.loads(line)["row"] for line in (out / "raw" / "quarantine.jsonl").read_text().splitlines()]
    assert rows == [2, 3]
