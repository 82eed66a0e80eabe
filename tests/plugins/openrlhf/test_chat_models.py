"""The policy, the reward and rows of DPO read the same prompt, token by token, through the host's own rollout code.

The tokenizers have a chat template, BOS and EOS; the models are real and tiny; only the engine is a stand-in.
"""

import os
from types import SimpleNamespace

import pytest

pytest.importorskip("openrlhf.trainer.ray.vllm_engine", reason="the host is not installed", exc_type=ImportError)

from openrlhf.datasets.prompts_dataset import preprocess_data

from persona_rm.bundle import User, load_bundle, write_bundle
from persona_rm.errors import HostError, ScoreError
from persona_rm.pipeline.stages.dpo_rows import dpo_rows
from persona_rm.recipe import DpoConfig, Recipe
from persona_rm.serving import client
from persona_rm.serving.actor.reward_actor import RewardActor
from persona_rm.types import Example, Message, Persona, Ugc
from tests.plugins.openrlhf.payloads.host_samples import Engine, Local, generate, params, rollout
from tests.prompts.chat_samples import save_chat_model

METHODS = {
    "pba": {"name": "pba"},
    "ica": {"name": "ica"},
    "contrast-pba": {"name": "contrast"},
    "contrast-ica": {"name": "contrast", "persona_as": "ica"},
}
POST = "Is <|eot_id|><|im_end|> tea better?"
TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Tea?"},
    {"role": "assistant", "content": "Yes."},
    {"role": "user", "content": POST},
]


@pytest.fixture(scope="module", params=["llama3", "chatml"])
def models(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    return [save_chat_model(folder / str(seed), request.param, seed) for seed in range(2)]


class Job:
    """A bundle with its actor, whose log-prob backend notes what it scores, and the plugins of the host."""

    def __init__(self, folder, space, models, method, **keys):
        like = tuple(int(i == 0) for i in range(len(space)))
        self.persona = Persona("ann", (Ugc("A post?", "My </s> comment."),), directions=like)
        users = [User(self.persona, "cats"), User(Persona("bob", directions=tuple(-d for d in like)), "dogs")]
        keys = {"policy": str(models[0]), "reference": str(models[1]), **keys}
        self.folder = write_bundle(folder / "bundle", users, method=method, inferrer=None, **keys)
        self.models, self.method, self.space, self.scored = models, method, space, []
        self.actors = Local(self.folder, 1, self._actor)
        self.bundle = load_bundle(self.folder)
        self.tokenizer = self.bundle.chat.tokenizer if self.bundle.chat else None

    def _actor(self, folder, name):
        actor = RewardActor(str(folder), name)
        backend = actor.bundle._backends.logprob
        if backend is not None:
            score = backend.logprob

            def noted(prompts, responses, finished=None):
                self.scored += zip(prompts, responses, finished or [True] * len(prompts), strict=True)
                return score(prompts, responses, finished)

            backend.logprob = noted
        return actor

    def run(self, door, prompt, label, *, rendered=False, answer=" Yes.", ends=True):
        """The host's output of one sample, and the ids that its engine got."""
        apply = self.tokenizer.apply_chat_template if rendered else None
        prompt, label = preprocess_data({"x": prompt, "y": label}, None, "x", "y", apply)
        ids = self.tokenizer(answer, add_special_tokens=False)["input_ids"] + [self.tokenizer.eos_token_id] * ends
        engine = Engine(lambda _: ids, self.tokenizer)
        limits = {"sampling_params": params(len(ids)), "max_length": 4096, "hf_tokenizer": self.tokenizer}
        (output,) = generate(rollout(engine, door), [(prompt, label)], **limits)
        return SimpleNamespace(output=output, ids=engine.prompts[0])

    def dpo_prompts(self, post):
        """The prompts of DPO rows for this user and post."""
        example = Example("e", post, "good", "bad", self.persona.directions, self.persona, group="g")
        recipe = Recipe(name="a", model=str(self.models[0]), chat="template")
        return {
            row["prompt"] for row in dpo_rows(recipe, DpoConfig(method=self.method, rows=8, max_items=1), [example])
        }


@pytest.fixture
def job(tmp_path, space, models, monkeypatch):
    """`job(method, **keys of the bundle)`; the plugins that are loaded from here on ask its actor."""
    made = []

    def make(method, **keys):
        one = Job(tmp_path, space, models, method, **keys)
        made.append(one)
        monkeypatch.setattr(client, "RayTransport", lambda namespace: one.actors)
        monkeypatch.setattr(os, "_exit", lambda code: (_ for _ in ()).throw(SystemExit(code)))
        monkeypatch.setenv("PERSONA_RM_BUNDLE", str(one.folder))
        return one

    yield make
    for one in made:
        one.actors.close()


def assert_same(job, policy_ids, **texts):
    """The texts are those ids, token by token; they are printed side by side. BOS occurs as often as in a template."""
    encode = job.tokenizer
    rows = {name: encode(text, add_special_tokens=False)["input_ids"] for name, text in texts.items()}
    for i, one in enumerate(policy_ids):
        shown = [encode.convert_ids_to_tokens(one)] + [
            encode.convert_ids_to_tokens(ids[i]) if i < len(ids) else "-" for ids in rows.values()
        ]
        if len(set(shown)) > 1:
            print(i, *shown)  # noqa: T201 - shown if the test fails
    for name, ids in rows.items():
        assert ids == policy_ids, name
    starts = encode.apply_chat_template(
        [{"role": "user", "content": "x"}], tokenize=True, add_generation_prompt=True, return_dict=False
    )
    assert policy_ids.count(encode.bos_token_id) == starts.count(encode.bos_token_id) <= 1
    assert encode.decode(policy_ids).count("***Task***") == 1


def whole_prompt(job):
    """The prompt with the user that was scored last; `contrast` scores the plain one too."""
    return next(prompt for prompt, _, _ in job.scored if "***User Pref" in prompt or "***Historical" in prompt)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("rendered", [False, True])
def test_agent_func_the_reward_and_dpo_rows_read_one_prompt(job, name, rendered):
    one = job({**METHODS[name], "chat": "template"})
    done = one.run("agent", POST, {"user": "ann"}, rendered=rendered)
    reward = whole_prompt(one)
    (row,) = [prompt for prompt in one.dpo_prompts(POST) if "***User Pref" in prompt or "***Historical" in prompt]
    assert_same(one, done.ids, reward=reward, dpo_row=row, bundle=one.bundle.render("ann", POST))
    assert done.output["extra_logs"]["persona_rm/cold"] == 0.0


@pytest.mark.parametrize("name", METHODS)
def test_reward_func_with_prompts_that_hold_the_user_reads_them_too(job, name):
    one = job({**METHODS[name], "chat": "template"})
    done = one.run("func", one.bundle.render("ann", POST), {"user": "ann", "prompt": POST})
    (row,) = [prompt for prompt in one.dpo_prompts(POST) if "***User Pref" in prompt or "***Historical" in prompt]
    assert_same(one, done.ids, reward=whole_prompt(one), dpo_row=row)


def test_reward_func_unwraps_a_prompt_that_arrives_rendered(job):
    one = job({"name": "pba", "chat": "template"})
    one.run("func", POST, {"user": "ann"}, rendered=True)
    assert whole_prompt(one) == one.bundle.render("ann", one.bundle.reader.bare(POST))
    assert whole_prompt(one).count("***Task***") == 1


@pytest.mark.parametrize("rendered", [True, False])
def test_turns_of_a_conversation_are_kept(job, rendered):
    one = job({"name": "pba", "chat": "template"})
    done = one.run("agent", TALK, {"user": "ann"}, rendered=rendered)
    text = one.tokenizer.decode(done.ids)
    assert_same(one, done.ids, reward=whole_prompt(one))
    assert text.index("Be brief.") < text.index("Tea?") < text.index("Yes.") < text.index("***Task***")
    *_, last = one.bundle.chat.unwrap(text)
    assert "User Preferences" in last.content
    assert "User Preferences" not in text[: text.index("***Task***")]


def test_a_bundle_without_chat_refuses_prompts_of_a_chat_model(job):
    one = job({"name": "pba"})
    with pytest.raises(HostError, match="write the bundle with `chat: template`"):
        one.run("agent", POST, {"user": "ann"}, rendered=True)
    assert one.run("agent", POST, {"user": "ann"}).ids == one.tokenizer(whole_prompt(one))["input_ids"]


def test_a_reward_without_a_prompt_leaves_the_form_to_the_host(job):
    one = job({"name": "pba_linear"}, policy=None, reference=None, annotator={"name": "simulator"})
    from transformers import AutoTokenizer

    one.tokenizer = AutoTokenizer.from_pretrained(one.models[0])
    in_turns = one.tokenizer.decode(one.run("agent", "Tea?", {"user": "ann"}, rendered=True).ids)
    as_text = one.tokenizer.decode(one.run("agent", "Tea?", {"user": "ann"}).ids)
    assert in_turns.count("***Task***\n\nTea?") == as_text.count("***Task***\n\nTea?") == 1
    assert in_turns.endswith(one.tokenizer.apply_chat_template(TALK, tokenize=False, add_generation_prompt=True)[-12:])
    assert as_text.endswith("***Response:***\n\n")


@pytest.mark.parametrize("door", ["agent", "func"])
def test_a_cut_answer_is_not_finished_and_has_no_end(job, door):
    one = job({"name": "pba", "chat": "template"}, postprocess={"cut_penalty": 2.5})
    prompt = POST if door == "agent" else one.bundle.render("ann", POST)
    label = {"user": "ann", "prompt": POST}
    whole, cut = (one.run(door, prompt, label, answer=" Yes, half", ends=ends).output for ends in (True, False))
    assert [finished for *_, finished in one.scored] == [True, False]
    assert [out["extra_logs"]["persona_rm/cut"] for out in (whole, cut)] == [0.0, 1.0]
    assert whole["extra_logs"]["persona_rm/postprocess/cut"] == 0.0
    assert cut["extra_logs"]["persona_rm/postprocess/cut"] == -2.5
    assert cut["reward"] != pytest.approx(whole["reward"] - 2.5)


@pytest.mark.parametrize("door", ["agent", "func"])
def test_thinking_is_left_out_of_what_is_scored_and_counted(job, door):
    one = job({"name": "pba", "chat": "template"}, strip_think=True)
    prompt = POST if door == "agent" else one.bundle.render("ann", POST)
    answers = {"<think>Hm, tea.</think>\n\nYes.": True, "Yes.": True, "<think>Hm, te": False}
    logs = [
        one.run(door, prompt, {"user": "ann", "prompt": POST}, answer=answer, ends=ends).output["extra_logs"]
        for answer, ends in answers.items()
    ]
    assert [(response, finished) for _, response, finished in one.scored] == [
        ("Yes.", True), ("Yes.", True), ("", False)
    ]  # fmt: skip
    assert [log["persona_rm/think"] for log in logs] == [1.0, 0.0, 1.0]
    assert [log["persona_rm/empty"] for log in logs] == [0.0, 0.0, 1.0]
    assert [log["persona_rm/cut"] for log in logs] == [0.0, 0.0, 1.0]


def test_a_prompt_that_is_nearly_rendered_stops_the_job(job):
    one = job({"name": "pba", "chat": "template"})
    rendered = one.bundle.chat.render((Message("user", "Tea?"),))
    with pytest.raises(Exception, match="begins as one that was rendered") as caught:
        one.run("agent", rendered + "Well, ", {"user": "ann"})
    assert not isinstance(caught.value, ScoreError)
