"""`VllmLogProb`: no row is believed that vLLM's prefix cache spoiled. Fake engines with faults."""

import math
import sys
from collections.abc import Sequence
from random import Random
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError

from persona_rm.backends.logprob.vllm_logprob import VllmLogProb, VllmOptions
from persona_rm.backends.tokens import token_ids
from persona_rm.errors import HostError, MissingExtra, RecipeError, ScoreError
from persona_rm.types import Message

BLOCK = 4
VOCABULARY = 100


def step(ids: Sequence[int], t: int) -> float:
    """The fake model: a token's log-probability depends on all before it."""
    return -((sum(ids[:t]) * 31 + ids[t] * 7) % 97) / 10


def truth(prompt: Sequence[int], response: Sequence[int]) -> float:
    ids = [*prompt, *response]
    return math.fsum(step(ids, t) for t in range(len(prompt), len(ids)))


class FakeEngine:
    """vLLM's prefix cache: entries whose predecessor was read from the cache are not computed.

    `kind` says what stands there: "memory" (other ids, any number), "stale" (the right ids, wrong numbers), "short"
    (no entries at all), "silent" (as "memory", and the hit is not reported).
    """

    def __init__(self, kind: str = "memory", context: int = 64) -> None:
        self.kind, self.calls, self.stopped = kind, [], 0
        self.blocks: set[tuple[int, ...]] = set()
        self.model_config = SimpleNamespace(
            max_model_len=context, get_vocab_size=lambda: VOCABULARY, model="simulator"
        )
        self.llm_engine = SimpleNamespace(engine_core=SimpleNamespace(shutdown=self.stop))

    def stop(self) -> None:
        self.stopped += 1

    def generate(self, asked, sampling, use_tqdm):
        given = zip([row["prompt_token_ids"] for row in asked], sampling, strict=True)
        if hasattr(sampling[0], "logprob_token_ids"):
            self.calls.append((len(asked), "first tokens"))
            return [self.after(ids, one.logprob_token_ids) for ids, one in given]
        self.calls.append((len(asked), sampling[0].skip_reading_prefix_cache))
        return [self.answer(ids, read=not one.skip_reading_prefix_cache) for ids, one in given]

    def after(self, ids, tokens):
        """log p of `tokens` after `ids`, behind the sampled one."""
        assert len(tokens) <= 128
        values = [0.0, *(self.value([*ids, token], len(ids)) for token in tokens)]
        entries = SimpleNamespace(token_ids=[tokens[-1], *tokens], logprobs=values)
        return SimpleNamespace(outputs=[SimpleNamespace(logprobs=entries)])

    def answer(self, ids, read):
        ends = range(BLOCK, len(ids), BLOCK)
        hit = max((end for end in ends if read and tuple(ids[:end]) in self.blocks), default=0)
        self.blocks |= {tuple(ids[: end + BLOCK]) for end in range(0, len(ids) - BLOCK + 1, BLOCK)}
        known = range(hit + 1, len(ids))
        lost = [] if self.kind == "short" else range(1, hit + 1)
        tokens = [ids[t] if self.kind == "stale" else 10**6 for t in lost] + [ids[t] for t in known]
        values = [-5.0 for _ in lost] + [self.value(ids, t) for t in known]
        return SimpleNamespace(
            num_cached_tokens=0 if self.kind == "silent" else hit,
            prompt_logprobs=SimpleNamespace(token_ids=tokens, logprobs=values),
        )

    def value(self, ids, t):
        return step(ids, t)


@pytest.fixture
def backend_of(monkeypatch):
    """`backend_of(policy, reference, **more)` -> a `VllmLogProb` over these engines; vLLM is a handful of names."""
    for name in ("vllm", "vllm.v1", "vllm.v1.engine", "vllm.v1.engine.exceptions"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules["vllm"].SamplingParams = SimpleNamespace
    sys.modules["vllm.v1.engine.exceptions"].EngineDeadError = type("EngineDeadError", (Exception,), {})

    def make(policy: FakeEngine, reference: FakeEngine | None = None, **more: Any) -> VllmLogProb:
        made = VllmLogProb("policy", "reference" if reference else None, options=VllmOptions(**more))
        made.__dict__.update(_policy=policy, _reference=reference)
        return made

    return make


def score(backend: VllmLogProb, rows: Sequence[tuple[Sequence[int], Sequence[int]]]):
    return backend.logprob_ids([prompt for prompt, _ in rows], [response for _, response in rows])


def right(backend: VllmLogProb, rows: Sequence[tuple[Sequence[int], Sequence[int]]]) -> None:
    found = score(backend, rows)
    assert [one.policy for one in found] == pytest.approx([truth(*row) for row in rows])
    assert [one.tokens for one in found] == [len(response) for _, response in rows]


PROMPT = list(range(1, 2 * BLOCK + 3))
ALIGNED = list(range(40, 40 + 3 * BLOCK))
KINDS = pytest.mark.parametrize("kind", ["memory", "stale", "short", "silent"])


@KINDS
def test_a_prompt_is_read_once_and_its_responses_are_right(backend_of, kind):
    backend = backend_of(FakeEngine(kind))
    right(backend, [(PROMPT, [20 + i, 9, 8, 7, 6, 5]) for i in range(5)])
    assert (backend.counters.sent, backend.counters.rescored) == (5, 0)
    assert backend._policy.calls == [(5, False)]
    assert backend.counters.tokens == 5 * 16
    assert backend.counters.cached == (0 if kind == "silent" else 4 * 8)


@KINDS
def test_rows_that_were_scored_before_are_computed_again(backend_of, kind):
    backend = backend_of(FakeEngine(kind))
    rows = [(PROMPT, [20 + i, 9, 8, 7, 6, 5]) for i in range(3)]
    right(backend, rows)
    right(backend, [*rows, (PROMPT, [30])])
    assert backend.counters.rescored == 3
    assert backend._policy.calls[1:] == [(4, False), (3, True)]


@KINDS
def test_responses_that_begin_alike(backend_of, kind):
    backend = backend_of(FakeEngine(kind))
    long = [20, 21, 22, 23, 24, 25, 26, 27]
    right(backend, [(PROMPT, long), (PROMPT, long[:6]), (PROMPT, long[:1]), (PROMPT, [*long[:5], 60])])
    assert backend.counters.rescored >= 2


@pytest.mark.parametrize("kind", ["memory", "stale", "short"])
def test_of_a_prompt_of_whole_blocks_the_first_tokens_are_asked_for_apart(backend_of, kind):
    backend = backend_of(FakeEngine(kind))
    other = [*ALIGNED, 1, 2, 3, 4]
    rows = [(ALIGNED, [20 + i, 7]) for i in range(4)] + [(ALIGNED, [60])] + [(other, [i, 3]) for i in range(3)]
    right(backend, rows)
    assert (backend.counters.completed, backend.counters.rescored) == (5 + 2, 0)
    assert backend._policy.calls == [(8, False), (2, "first tokens")]


def test_first_tokens_are_asked_for_in_parts_that_vllm_takes(backend_of):
    backend = backend_of(FakeEngine())
    backend._policy.model_config.get_vocab_size = lambda: 1000
    right(backend, [(ALIGNED, [i, 7]) for i in range(300)])
    assert (backend.counters.completed, backend.counters.rescored) == (299, 0)
    assert backend._policy.calls[1:] == [(3, "first tokens")]


def test_first_tokens_that_vllm_does_not_name_are_not_believed(backend_of):
    class Other(FakeEngine):
        def after(self, ids, tokens):
            return super().after(ids, [token + 1 for token in tokens])

    class Silent(FakeEngine):
        def after(self, ids, tokens):
            return SimpleNamespace(outputs=[SimpleNamespace(logprobs=None)])

    for engine in (Other(), Silent()):
        backend = backend_of(engine)
        right(backend, [(ALIGNED, [20 + i, 7]) for i in range(4)])
        assert (backend.counters.completed, backend.counters.rescored) == (0, 3)


@KINDS
@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_shared_the_sums_are_right(backend_of, kind, seed):
    """Random rows over few tokens, so that they share openings, repeat, and end inside one another, in three calls."""
    draw = Random(seed)

    def some(least: int, most: int) -> list[int]:
        return draw.choices([1, 2], k=draw.randint(least, most))

    prompts = [some(1, 14) for _ in range(3)]
    backend = backend_of(FakeEngine(kind))
    for _ in range(3):
        right(backend, [(draw.choice(prompts), some(1, 9)) for _ in range(12)])


def test_identical_rows_are_sent_once_to_each_engine(backend_of):
    backend = backend_of(FakeEngine(), FakeEngine())
    found = score(backend, [(PROMPT, [20, 9]), (PROMPT, [21]), (PROMPT, [20, 9])])
    assert found[0] == found[2] != found[1]
    assert found[0].reference == found[0].policy
    assert (backend.counters.rows, backend.counters.sent) == (3, 4)
    assert backend._policy.calls == backend._reference.calls == [(2, False)]


def test_without_sharing_nothing_is_read(backend_of):
    backend = backend_of(FakeEngine(), share_prompts=False)
    rows = [(ALIGNED, [20 + i, 7]) for i in range(4)]
    right(backend, rows)
    right(backend, rows)
    assert (backend.counters.cached, backend.counters.rescored) == (0, 0)
    assert backend._policy.calls == [(4, True)] * 2


def test_rows_are_refused_before_anything_is_sent(backend_of):
    backend = backend_of(FakeEngine(), FakeEngine(context=20))
    assert backend.limit == 19
    assert backend_of(FakeEngine(), max_length=9).limit == 9
    right(backend, [(PROMPT, [5] * 9)])
    with pytest.raises(ScoreError, match="limit of 19 tokens, nothing was cut: row 1: 20 tokens") as caught:
        score(backend, [(PROMPT, [5]), (PROMPT, [5] * 10)])
    assert caught.value.rows == (1,)
    with pytest.raises(ScoreError, match="no response token") as caught:
        score(backend, [([5], [6]), ([5], []), ([], [6])])
    assert caught.value.rows == (1, 2)
    with pytest.raises(ScoreError, match="vocabulary of 100") as caught:
        score(backend, [([5], [6]), ([5], [100]), ([-1], [6])])
    assert caught.value.rows == (1, 2)
    with pytest.raises(ScoreError, match="1 prompts for 2 responses"):
        backend.logprob_ids([[1]], [[2], [3]])
    with pytest.raises(ScoreError, match="1 prompts for 2 responses"):
        backend.logprob(["a"], ["b", "c"])
    assert backend._policy.calls == [(1, False)]
    assert backend.logprob_ids([], []) == backend.logprob([], []) == []


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_names_its_rows(backend_of, wrong):
    class Sick(FakeEngine):
        def value(self, ids, t):
            return wrong if ids[t] == 66 else step(ids, t)

    rows = [(PROMPT, [20]), (PROMPT, [66]), (PROMPT, [21])]
    for engines in ((Sick(), None), (FakeEngine(), Sick())):
        with pytest.raises(ScoreError, match="not finite") as caught:
            score(backend_of(*engines), rows)
        assert caught.value.rows == (1,)


def test_an_engine_that_cannot_say_stops_the_caller(backend_of):
    class Mute(FakeEngine):
        def answer(self, ids, read):
            return SimpleNamespace(num_cached_tokens=0, prompt_logprobs=None)

    class Vague(FakeEngine):
        def answer(self, ids, read):
            return SimpleNamespace(**{**vars(super().answer(ids, read)), "num_cached_tokens": None})

    for engine in (Mute(), Vague()):
        with pytest.raises(HostError, match="for 2 of 2 rows"):
            score(backend_of(engine), [(PROMPT, [20]), (PROMPT, [21])])


def test_a_dead_engine_and_a_refusal_stop_the_caller(backend_of):
    backend = backend_of(FakeEngine(), FakeEngine())
    backend._reference.model_config.model = "the reference"

    def die(*args, **more):
        raise error

    backend._reference.generate = die
    error = sys.modules["vllm.v1.engine.exceptions"].EngineDeadError()
    with pytest.raises(HostError, match="engine for the reference died"):
        score(backend, [(PROMPT, [20])])
    error = ValueError("a prompt of theirs")
    with pytest.raises(HostError, match="vLLM refuses") as caught:
        score(backend, [(PROMPT, [20])])
    assert "theirs" not in str(caught.value)


def test_it_closes_both_engines_once(backend_of):
    engines = FakeEngine(), FakeEngine()
    backend = backend_of(*engines)
    backend.close()
    backend.close()
    assert [engine.stopped for engine in engines] == [1, 1]


def test_engines_share_the_memory_and_get_what_is_extra(backend_of, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    asked = []
    sys.modules["vllm"].LLM = lambda **given: asked.append(given) or FakeEngine()
    options = VllmOptions(gpu_memory_utilization=0.8, block_size=64)
    backend = VllmLogProb(tmp_path, tmp_path, dtype="float32", options=options)
    assert backend.limit == 63
    assert [one["gpu_memory_utilization"] for one in asked] == [0.4, 0.4]
    told = {"block_size": 64, "dtype": "float32", "enable_prefix_caching": True, "trust_remote_code": False}
    assert {**asked[0], **told} == asked[0]
    assert not {"max_length", "share_prompts", "max_model_len", "tensor_parallel"} & asked[0].keys()
    alone = VllmLogProb(tmp_path)
    assert alone.limit == 63
    assert asked[2]["gpu_memory_utilization"] == 0.9


def test_what_would_be_no_log_probability_is_refused(backend_of, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    for key in ("logprobs_mode", "extra", "trust_remote_code"):
        with pytest.raises(ValidationError, match=rf"{key}\n.*[Ee]xtra"):
            VllmOptions(**{key: True})
    with pytest.raises(RecipeError, match="no dtype float64: use one of auto"):
        _ = VllmLogProb(tmp_path, dtype="float64").limit
    with pytest.raises(RecipeError, match=r"no policy model at .*nowhere.*config\.json"):
        _ = VllmLogProb(tmp_path / "nowhere").limit
    with pytest.raises(RecipeError, match="no reference model"):
        _ = VllmLogProb(tmp_path, tmp_path / "nowhere", dtype="auto")._reference


def test_without_vllm_it_gives_the_pip_command(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(MissingExtra, match="pip install vllm"):
        VllmLogProb(tmp_path).logprob_ids([[1]], [[2]])


def test_texts_become_the_ids_of_dpo_training(backend_of, tiny_model):
    from transformers import AutoTokenizer

    backend = backend_of(FakeEngine(context=4096))
    backend.policy = tiny_model(0)
    backend._policy.model_config.get_vocab_size = lambda: 400
    texts = (["What is law?", "And music?"], ["I like the law.\n", ""])
    encoded = token_ids(AutoTokenizer.from_pretrained(tiny_model(0)), *texts)
    assert [one.policy for one in backend.logprob(*texts)] == [truth(ids[:n], ids[n:]) for ids, n in encoded]
    with pytest.raises(RecipeError, match="no chat template"):
        backend.chat.render((Message("user", "hi"),))
    backend._tokenizer.chat_template = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}[assistant]"
    assert backend.chat.render((Message("user", "hi"),)) == "[user]hi[assistant]"
