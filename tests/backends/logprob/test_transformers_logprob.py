"""The batched sums equal a plain float64 loop over the same ids, independent of the other rows of a batch."""

import math
import shutil
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from persona_rm.backends.base import SequenceLogProb
from persona_rm.backends.logprob.transformers_logprob import CUT_STEP, MIN_PROMPT, TransformersLogProb, shortened
from persona_rm.backends.tokens import ended, token_ids
from persona_rm.errors import RecipeError, ScoreError
from persona_rm.types import Message

Tiny = Callable[..., Path]

PROMPTS = ["***Task***\n\nWhat is law?\n\n***Response:***\n\n", "Short: ", "A much longer prompt, " * 12 + "\n\n"]
RESPONSES = ["I like the law.", "No.\n\n", "An answer that goes on and on and on. " * 9, "Zürich 🎭 {x}"]
ROWS = [(prompt, response) for prompt in PROMPTS for response in RESPONSES]


def one_by_one(folder: Path, ids: Sequence[int], start: int) -> float:
    """The definition in float64, one row, no padding: the sum of log p(ids[t] | ids[:t]) for t >= start."""
    import torch

    with torch.no_grad():
        logprobs = torch.log_softmax(exact_model(folder)(torch.tensor([ids])).logits[0], -1)
    return sum(float(logprobs[t - 1, ids[t]]) for t in range(start, len(ids)))


@cache
def exact_model(folder: Path) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64).eval()


def tokenizer_of(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def score(backend: TransformersLogProb, rows: Sequence[tuple[str, str]]) -> list[SequenceLogProb]:
    return backend.logprob([prompt for prompt, _ in rows], [response for _, response in rows])


def test_equals_the_float64_loop(tiny_model: Tiny) -> None:
    policy, reference = tiny_model(0), tiny_model(1)
    encoded = token_ids(tokenizer_of(policy), [p for p, _ in ROWS], [r for _, r in ROWS])
    assert len({len(ids) for ids, _ in encoded}) > 8
    for got, (ids, start) in zip(score(TransformersLogProb(policy, reference), ROWS), encoded, strict=True):
        assert got.policy == pytest.approx(one_by_one(policy, ids, start), abs=1e-4)
        assert got.reference == pytest.approx(one_by_one(reference, ids, start), abs=1e-4)
        assert got.tokens == len(ids) - start
        assert abs(got.policy - (got.reference or 0)) > 1e-2


@pytest.mark.parametrize("batch_tokens", [1, 300, 100_000])
def test_neighbours_in_a_batch_change_nothing(tiny_model: Tiny, batch_tokens: int) -> None:
    backend = TransformersLogProb(tiny_model(0), tiny_model(1), batch_tokens=batch_tokens)
    together = score(backend, ROWS)
    for row, got in zip(ROWS, together, strict=True):
        alone = score(backend, [row])[0]
        assert got.policy == pytest.approx(alone.policy, abs=1e-4)
        assert got.reference == pytest.approx(alone.reference, abs=1e-4)
        assert got.tokens == alone.tokens


@pytest.mark.parametrize(("dtype", "close"), [("float64", {"abs": 1e-9}), ("float32", {"rel": 1e-5})])
def test_calls_that_share_beginnings_equal_the_float64_loop(tiny_model: Tiny, dtype: Any, close: Any) -> None:
    """Users whose text is cached, duplicates, one-token responses; a small cache that evicts between the calls."""
    policy, reference = tiny_model(0), tiny_model(1)
    users = [f"{'Likes law. ' * n}Person {n} asks.\n\n" for n in (3, 30, 31)]
    rows = [(f"{user}{ask}: ", text) for user in users for ask in ("What", "Who") for text in RESPONSES[:3]]
    backend = TransformersLogProb(policy, reference, dtype=dtype, cache_bytes=200_000)
    for call in (rows[:7], rows[4:], rows[::-1], [*rows[::5], rows[0], rows[0]], rows):
        encoded = token_ids(tokenizer_of(policy), [p for p, _ in call], [r for _, r in call])
        encoded += [(ids[: start + 1], start) for ids, start in encoded]
        found = backend.logprob_ids([ids[:s] for ids, s in encoded], [ids[s:] for ids, s in encoded])
        for got, (ids, start) in zip(found, encoded, strict=True):
            assert got.policy == pytest.approx(one_by_one(policy, ids, start), **close)
            assert got.reference == pytest.approx(one_by_one(reference, ids, start), **close)
    assert backend.counters.hits > 0
    assert 0 < backend.counters.bytes <= 200_000


def test_text_callers_profit_from_the_second_prompt_of_a_person_on(tiny_model: Tiny) -> None:
    backend = TransformersLogProb(tiny_model(0), tiny_model(1))
    persona = "Likes law. Dislikes law. " * 20
    taken = []
    for topic in ("law", "music", "food", "sport"):
        before = backend.counters.computed
        score(backend, [(f"{persona}\n\nWhat is {topic}?", "I like the law.")])
        taken.append(backend.counters.computed - before)
    assert taken[3] < taken[0] / 2
    assert (backend.counters.hits, backend.counters.rows) == (4, 4)
    assert backend.counters.reused > 0
    off = TransformersLogProb(tiny_model(0), tiny_model(1), cache_bytes=0)
    for _ in range(3):
        assert score(off, ROWS[:2]) == pytest.approx(score(off, ROWS[:2]))
    assert (off.counters.hits, off.counters.bytes, off.counters.reused) == (0, 0, 0)


def test_another_persona_never_reads_a_cached_one(tiny_model: Tiny) -> None:
    """A changed state changes the ids, here one of the first."""
    old, new = ("Likes law. " * 30, "Likes low. " + "Likes law. " * 29)
    warm = TransformersLogProb(tiny_model(0), dtype="float64")
    for _ in range(3):
        before = score(warm, [(old, "No.")])[0]
    hits = warm.counters.hits
    after = score(warm, [(new, "No.")])[0]
    assert (hits, warm.counters.hits) == (1, 1)
    assert after.policy == pytest.approx(
        score(TransformersLogProb(tiny_model(0), dtype="float64"), [(new, "No.")])[0].policy
    )
    assert after.policy != pytest.approx(before.policy, abs=1e-6)


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_tokenizers_padding_side_does_not_matter(tiny_model: Tiny, tmp_path: Path, side: str) -> None:
    folder = tmp_path / "m"
    shutil.copytree(tiny_model(0), folder)
    tokenizer = tokenizer_of(folder)
    tokenizer.padding_side = side
    tokenizer.save_pretrained(folder)
    assert score(TransformersLogProb(folder), ROWS) == score(TransformersLogProb(tiny_model(0)), ROWS)


def test_no_reference_gives_none(tiny_model: Tiny) -> None:
    assert score(TransformersLogProb(tiny_model(0)), ROWS[:1])[0].reference is None
    assert TransformersLogProb(tiny_model(0)).logprob([], []) == []
    assert TransformersLogProb(tiny_model(0)).logprob_ids([], []) == []


def test_ids_are_taken_as_they_are(tiny_model: Tiny) -> None:
    backend = TransformersLogProb(tiny_model(0), tiny_model(1))
    encoded = token_ids(tokenizer_of(tiny_model(0)), [p for p, _ in ROWS], [r for _, r in ROWS])
    by_ids = backend.logprob_ids([ids[:start] for ids, start in encoded], [ids[start:] for ids, start in encoded])
    assert by_ids == score(backend, ROWS)


def test_duplicates_are_computed_once(tiny_model: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    original = TransformersLogProb._sums
    monkeypatch.setattr(
        TransformersLogProb, "_sums", lambda self, rows: seen.append(len(rows)) or original(self, rows)
    )
    got = score(TransformersLogProb(tiny_model(0)), [ROWS[0], ROWS[1], ROWS[0], ROWS[0]])
    assert seen == [2]
    assert got[0] == got[2] == got[3] != got[1]


def test_too_long_names_rows_tokens_and_limit(tiny_model: Tiny) -> None:
    backend = TransformersLogProb(tiny_model(0, max_position_embeddings=64))
    with pytest.raises(ScoreError, match=r"limit of 64 tokens, nothing was cut: row 1: \d\d+ tokens") as caught:
        score(backend, [ROWS[4], ROWS[2], ROWS[5]])
    assert caught.value.rows == (1,)
    assert score(backend, [ROWS[4]])


def test_max_length_and_the_shorter_context_bind(tiny_model: Tiny) -> None:
    assert TransformersLogProb(tiny_model(0), max_length=9).limit == 9
    assert TransformersLogProb(tiny_model(0), tiny_model(0, max_position_embeddings=64)).limit == 64
    with pytest.raises(ScoreError, match="limit of 9"):
        score(TransformersLogProb(tiny_model(0), max_length=9), ROWS[:1])


def test_left_truncation_is_counted_and_keeps_the_response(tiny_model: Tiny) -> None:
    folder = tiny_model(0)
    backend = TransformersLogProb(folder, max_length=400, truncate="left", dtype="float64")
    ids = [5 + i % 200 for i in range(900)]
    found = backend.logprob_ids([ids[:800], ids[:300]], [ids[800:], ids[300:310]])
    assert found[0].policy == pytest.approx(one_by_one(folder, ids[512:], 288), abs=1e-9)
    assert found[1].policy == pytest.approx(one_by_one(folder, ids[:310], 300), abs=1e-9)
    assert [one.tokens for one in found] == [100, 10]
    assert (backend.counters.cut_rows, backend.counters.cut_tokens) == (1, 512)
    with pytest.raises(ScoreError, match=f"limit of 400 tokens, even with {MIN_PROMPT} prompt tokens left") as caught:
        backend.logprob_ids([ids[:300], ids[:800]], [ids[300:310], ids[:390]])
    assert caught.value.rows == (1,)
    assert backend.counters.cut_rows == 1


@pytest.mark.parametrize(
    ("length", "start", "limit", "cut"),
    [(500, 400, 500, 0), (501, 400, 500, CUT_STEP), (800, 400, 500, 400 - MIN_PROMPT), (800, 363, 500, 0)],
)
def test_how_much_is_cut(length: int, start: int, limit: int, cut: int) -> None:
    ids = tuple(range(length))
    assert shortened((ids, start), limit) == (ids[cut:], start - cut)


def test_nan_names_the_rows(tiny_model: Tiny, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model(0))
    marked = tokenizer_of(tiny_model(0)).convert_tokens_to_ids("{")
    model.model.embed_tokens.weight.data[marked] = math.nan
    model.save_pretrained(tmp_path)
    tokenizer_of(tiny_model(0)).save_pretrained(tmp_path)
    for backend in (TransformersLogProb(tmp_path), TransformersLogProb(tiny_model(0), tmp_path)):
        with pytest.raises(ScoreError, match="not finite") as caught:
            score(backend, ROWS[:4])
        assert caught.value.rows == (3,)


def test_nothing_to_score_is_refused(tiny_model: Tiny) -> None:
    backend = TransformersLogProb(tiny_model(0))
    with pytest.raises(ScoreError, match="no response token") as caught:
        backend.logprob_ids([[5], [5], []], [[6], [], [6]])
    assert caught.value.rows == (1, 2)
    with pytest.raises(ScoreError, match="1 prompts for 2 responses"):
        backend.logprob(["a"], ["b", "c"])


def test_ids_of_another_tokenizer_are_refused(tiny_model: Tiny) -> None:
    with pytest.raises(ScoreError, match="vocabulary") as caught:
        TransformersLogProb(tiny_model(0)).logprob_ids([[5], [5]], [[6], [10**6]])
    assert caught.value.rows == (1,)


def test_a_missing_folder_says_what_is_needed(tmp_path: Path) -> None:
    backend = TransformersLogProb(tmp_path / "nowhere")
    with pytest.raises(RecipeError, match=r"no policy model at .*nowhere.*config\.json"):
        backend.logprob(["a"], ["b"])


def test_a_head_that_does_more_than_project_takes_the_full_path(tiny_model: Tiny, tmp_path: Path) -> None:
    """Gemma 2 squashes its logits after the head: the probe notices, and the sums are still the model's own."""
    import torch
    from transformers import Gemma2Config, Gemma2ForCausalLM

    tokenizer_of(tiny_model(0)).save_pretrained(tmp_path)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    more = {"num_key_value_heads": 1, "head_dim": 16, "vocab_size": 340, "final_logit_softcapping": 0.5}
    torch.manual_seed(0)
    Gemma2ForCausalLM(Gemma2Config(**sizes, **more)).save_pretrained(tmp_path)
    backend = TransformersLogProb(tmp_path)
    assert backend._models[0].head is None
    assert TransformersLogProb(tiny_model(0))._models[0].head is not None
    rows = token_ids(backend._tokenizer, [p for p, _ in ROWS], [r for _, r in ROWS])
    for got, (ids, start) in zip(score(backend, ROWS), rows, strict=True):
        assert got.policy == pytest.approx(one_by_one(tmp_path, ids, start), abs=1e-3)


def test_half_precision_is_summed_in_float32(tiny_model: Tiny) -> None:
    exact = score(TransformersLogProb(tiny_model(0), dtype="float64"), ROWS[:3])
    rough = score(TransformersLogProb(tiny_model(0), dtype="bfloat16"), ROWS[:3])
    for a, b in zip(exact, rough, strict=True):
        assert b.policy == pytest.approx(a.policy, rel=0.02)


def test_chat_template(tiny_model: Tiny, tmp_path: Path) -> None:
    messages = (Message("user", "hi"),)
    with pytest.raises(RecipeError, match="no chat template"):
        TransformersLogProb(tiny_model(0)).chat.render(messages)
    folder = tmp_path / "m"
    shutil.copytree(tiny_model(0), folder)
    tokenizer = tokenizer_of(folder)
    tokenizer.chat_template = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}[assistant]"
    tokenizer.save_pretrained(folder)
    assert TransformersLogProb(folder).chat.render(messages) == "[user]hi[assistant]"


def test_a_cut_response_has_no_end_token(tiny_model: Tiny) -> None:
    """Half of an answer gets the terms of its own tokens; in an answer that ended by itself the end counts too."""
    folder, backend = tiny_model(0), TransformersLogProb(tiny_model(0), tiny_model(1))
    prompt, half = PROMPTS[0], "I like"
    cut, ended_, nothing = backend.logprob([prompt] * 3, [half, half, ""], [False, True, False])
    ids, start = tokenizer_of(folder)(prompt + half)["input_ids"], len(tokenizer_of(folder)(prompt)["input_ids"])
    assert cut.tokens == len(ids) - start < ended_.tokens
    assert cut.policy == pytest.approx(one_by_one(folder, ids, start), abs=1e-4)
    assert abs(cut.policy - ended_.policy) > 1
    assert (nothing.policy, nothing.reference, nothing.tokens) == (0.0, 0.0, 0)
    assert TransformersLogProb(folder).logprob([prompt], [""], [False])[0].reference is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a", "a </s>"), ("a\n\n", "a </s>"), ("a</s>", "a</s>"), ("a</s>\n", "a</s>"), ("", " </s>")],
)
def test_how_a_text_ends(text: str, expected: str) -> None:
    assert ended(text, "</s>") == expected
