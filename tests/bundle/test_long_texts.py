"""A prompt or an answer longer than the model's context: an error that names the row, or a cut that is counted."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from persona_rm.backends.minilm import MiniLM
from persona_rm.bundle import Bundle, load_bundle, write_bundle
from persona_rm.bundle.engine_counters import cut_remark
from persona_rm.bundle.fit_bundle import fit_bundle
from persona_rm.errors import ScoreError
from persona_rm.pipeline.stages.relabel import RelabelConfig, relabel
from persona_rm.serving.ranking import rank_responses
from persona_rm.space import load_space
from persona_rm.types import Pair, Persona, RewardRequest
from persona_rm.users.users_file import User

LONG = "word " * 400
CONTEXT = 128
"""Tokens, which are bytes in the small model."""


@pytest.fixture
def policy_bundle(tmp_path: Path, tiny_model: Callable[..., Path]) -> Callable[..., Bundle]:
    model = str(tiny_model(1, max_position_embeddings=CONTEXT))

    def make(**options: object) -> Bundle:
        ann = Persona("ann", directions=load_space().parse("Likes Science"))
        keys = {"method": "contrast", "policy": model, "dtype": "float32", "engine_options": options}
        return load_bundle(write_bundle(tmp_path / "bundle", [ann], **keys))

    return make


@pytest.mark.parametrize(("prompt", "response"), [(LONG, "Yes."), ("Well?", LONG)], ids=["prompt", "response"])
def test_a_text_longer_than_the_context_is_an_error_of_its_row(
    policy_bundle: Callable[..., Bundle], prompt: str, response: str
) -> None:
    bundle = policy_bundle()
    good = RewardRequest("ann", "Well?", "Yes.")
    with pytest.raises(ScoreError, match=f"too long for the limit of {CONTEXT} tokens, nothing was cut") as raised:
        bundle.score([good, RewardRequest("ann", prompt, response)])
    assert (raised.value.kind, raised.value.rows) == ("too_long", (1,))
    assert "word word" not in str(raised.value)
    assert len(bundle.score([good])) == 1
    assert cut_remark(bundle.engine_counters()) == ""


def test_a_cut_that_the_bundle_asks_for_is_counted(policy_bundle: Callable[..., Bundle]) -> None:
    bundle = policy_bundle(truncate="left", max_length=100)
    bundle.score([RewardRequest("ann", "Well?", "Yes."), RewardRequest("ann", LONG, "Yes.")])
    counted = bundle.engine_counters()
    assert counted["rows_cut"] > 0
    assert f"{counted['rows_cut']} of {counted['rows']} texts are longer than the model reads" in cut_remark(
        bundle.engine_counters()
    )


def test_relabel_leaves_a_row_that_is_too_long_in_quarantine(
    policy_bundle: Callable[..., Bundle], tmp_path: Path
) -> None:
    row = {"user": "ann", "prompt": "Well?", "chosen": "Yes.", "rejected": "No."}
    prefs = tmp_path / "prefs.jsonl"
    prefs.write_text("".join(json.dumps({**row, "prompt": text}) + "\n" for text in ("Well?", LONG, "And?")))
    report = relabel(str(prefs), policy_bundle(), tmp_path / "dpo.jsonl", RelabelConfig())
    assert (report.total["pairs"], report.bad_rows) == (2, 1)
    fault = json.loads((tmp_path / "dpo_quarantine.jsonl").read_text())
    assert (fault["row"], fault["key"]) == (2, "chosen")
    assert f"too long for the limit of {CONTEXT} tokens" in fault["error"]


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    users = []
    for number in range(4):
        pairs = [Pair(f"question {i}?", f"yes {i} {LONG if i == 0 else ''}", f"no {i}") for i in range(3)]
        users.append(User(Persona(f"u{number}", pairs=tuple(pairs))))
    made = fit_bundle(users, tmp_path_factory.mktemp("long") / "bundle", "centroid")
    assert made.cut.startswith("1 of 6 texts are longer than the model reads: it read a part of them, and ")
    return made.folder


def test_an_encoder_reads_the_response_first_and_counts_what_it_cuts(fitted: Path, tmp_path: Path) -> None:
    ranking = rank_responses(fitted, "u1", LONG, ["yes", "no"])
    # The response stands in front of the prompt, so a long prompt does not make all responses equal.
    assert ranking.rows[0].reward != ranking.rows[1].reward
    assert "2 of 2 texts are longer than the model reads" in ranking.cut
    assert ranking.to_dict()["cut"] == ranking.cut
    assert rank_responses(fitted, "u1", "short", ["yes", "no"]).cut == ""
    prefs = tmp_path / "prefs.jsonl"
    prefs.write_text(json.dumps({"user": "u1", "prompt": LONG, "chosen": "yes", "rejected": "no"}) + "\n")
    report = relabel(str(prefs), load_bundle(fitted), tmp_path / "dpo.jsonl", RelabelConfig())
    assert "2 of 2 texts are longer than the model reads" in report.warnings()[-1]
    assert "texts are longer" in json.loads((tmp_path / "dpo_report.json").read_text())["remark"]


def test_counts_are_of_texts_that_the_model_read() -> None:
    encoder = MiniLM()
    encoder.encode(["short", LONG, LONG, "short"])
    encoder.encode([LONG])
    assert (encoder.counters.rows, encoder.counters.cut_rows) == (2, 1)
    assert encoder.counters.cut_tokens > 200


@pytest.mark.parametrize("keys", [{"prompt": "\ud800"}, {"response": "so \udcff"}])
def test_half_a_character_is_an_error_of_its_row(fitted: Path, keys: dict[str, str]) -> None:
    good = {"prompt": "Well?", "response": "Yes."}
    bundle = load_bundle(fitted)
    with pytest.raises(ScoreError, match=f"the {next(iter(keys))} holds half of a surrogate pair") as raised:
        bundle.score([RewardRequest("u1", **good), RewardRequest("u1", **{**good, **keys})])
    assert raised.value.rows == (1,)
