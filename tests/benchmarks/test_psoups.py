import gzip
import json

import pytest

from persona_rm.benchmarks import BENCHMARKS, controls
from persona_rm.benchmarks.evaluation import Evaluation
from persona_rm.errors import DataError, UnknownName

FILE = "benchmarks/psoups_friendly_unfriendly.json.gz"


def load(path, space, **more):
    cls = BENCHMARKS.load("psoups")
    return cls(cls.Config(path=path, **more), space).cases()


def row(space, **changes):
    dimension = space.dimensions[0]
    base = {
        "prompt": "p",
        "chosen": "c",
        "rejected": "r",
        "ground_truth_persona": "Generate a response in an unfriendly manner.",
        "profile": dimension.positive.label,
        "Pair-wise Comparative Feedback": [{"prompt": "hp", "chosen": "hc", "rejected": "hr"}],
    }
    return {key: value for key, value in (base | changes).items() if value is not ...}


def test_a_row_becomes_a_case(tmp_path, space):
    (tmp_path / "p.json").write_text(json.dumps([row(space)]))
    (case,) = load(tmp_path / "p.json", space)
    assert case.group_label == case.example.persona.user_id == "unfriendly"
    assert case.example.persona.directions == (1, *(0,) * (len(space) - 1))
    assert case.example.persona.pairs[0].directions is None
    assert case.unit != "unfriendly"


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"chosen": ...}, "chosen"),
        ({"prompt": 3}, "prompt"),
        ({"profile": "Likes no such thing"}, "profile"),
        ({"profile": ...}, "profile"),
        ({"Pair-wise Comparative Feedback": []}, "Pair-wise"),
        ({"Pair-wise Comparative Feedback": [{"prompt": "a", "chosen": "b"}]}, "rejected"),
    ],
)
def test_a_bad_row_is_named_by_file_row_and_key(tmp_path, space, changes, key):
    (tmp_path / "p.json").write_text(json.dumps([row(space), row(space, **changes)]))
    with pytest.raises(DataError, match=rf"p\.json, row 2, .*{key}"):
        load(tmp_path / "p.json", space)


@pytest.mark.parametrize(
    "raw", [b"[{", b"\xff\xfe", b"[]", b"{}", gzip.compress(b"[1, 2]" * 99, mtime=0)[:-9], b"\x1f\x8b" + b"junk" * 9]
)
def test_a_file_that_is_cut_or_no_array_is_refused(tmp_path, space, raw):
    (tmp_path / "p.json.gz").write_bytes(raw)
    with pytest.raises(DataError, match=r"p\.json\.gz"):
        load(tmp_path / "p.json.gz", space)


def test_a_missing_file_and_an_unknown_benchmark(tmp_path, space):
    with pytest.raises(DataError, match=r"nowhere\.json"):
        load(tmp_path / "nowhere.json", space)
    with pytest.raises(UnknownName, match="alignx, cobbler, llmfao, polis, psoups, simulator, ukp"):
        BENCHMARKS.load("helm")


def test_the_published_file_reads_whole_and_longer_wins_is_where_it_was_measured(shared_data, space):
    cases = load(shared_data / FILE, space)
    assert [sum(c.group_label == g for c in cases) for g in ("friendly", "unfriendly")] == [300, 300]
    assert all(any(c.example.persona.directions) for c in cases)
    run = Evaluation(resamples=200)
    longer = run.given("longer_words", cases, controls.longer_wins(cases, "words"))
    assert (run.rewards["longer_words"].margins > 0).sum() == 437  # 72.8 %; 96 ties count half on top of it
    assert longer.value == pytest.approx((437 + 96 / 2) / 600)
    assert longer.low < longer.value < longer.high
    assert len(run.by_group("longer_words")) == 2


def test_a_limit_keeps_both_personas_and_swapping_exchanges_histories(shared_data, space):
    cases = load(shared_data / FILE, space, limit=60)
    assert len(cases) == 60
    assert {c.group_label for c in cases} == {"friendly", "unfriendly"}
    swapped = controls.shuffled_personas(cases)
    assert all(a.example.persona.user_id != b.example.persona.user_id for a, b in zip(cases, swapped, strict=True))
