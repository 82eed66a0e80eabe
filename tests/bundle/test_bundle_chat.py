"""One prompt format for the reward and the policy of a bundle, and chat templates in it."""

import pytest

from persona_rm.bundle import load_bundle, write_bundle
from persona_rm.errors import DataError, ScoreError
from persona_rm.types import Message, Persona, RewardRequest
from tests.prompts.chat_samples import chat_tokenizer, save_chat_model

HEADER = "<|start_header_id|>user<|end_header_id|>"
ASK = (Message("user", "Tea?"),)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_chat_model(tmp_path_factory.mktemp("chat"))


@pytest.fixture
def bundle_of(tmp_path, space):
    def make(method, **keys):
        persona = Persona("ann", directions=space.parse("Likes Gaming"))
        return load_bundle(write_bundle(tmp_path / "bundle", [persona], method=method, **keys))

    return make


def texts(bundle, user="ann", prompt="Tea?"):
    """What the policy reads, and what the reward reads."""
    return bundle.render(user, prompt), bundle.method.render(bundle.state(user), prompt)


@pytest.mark.parametrize("user", ["ann", "unknown"])
@pytest.mark.parametrize(
    ("method", "keys"),
    [
        ({"name": "pba", "chat": "llama3"}, {}),
        ({"name": "pba", "chat": "llama3"}, {"policy_prompt": "pba"}),
        ({"name": "pba"}, {"chat": "llama3"}),
        ({"name": "pba", "chat": "llama3"}, {"chat": "llama3"}),
    ],
)
def test_the_policy_reads_the_headers_of_the_method(bundle_of, method, keys, user):
    policy, reward = texts(bundle_of(method, **keys), user)
    assert policy == reward
    assert policy.count(HEADER) == 1


@pytest.mark.parametrize("method", [{"name": "pba", "prompts": "paper"}, {"name": "pba"}])
def test_one_format_for_both(bundle_of, method):
    bundle = bundle_of(method, **({} if "prompts" in method else {"prompts": "paper"}), policy_prompt="pba")
    policy, reward = texts(bundle)
    assert policy == reward
    assert "Task\n\nTea?\n\nUser Preferences\n\n" in policy
    assert "***" not in policy


@pytest.mark.parametrize(("key", "ours", "own"), [("chat", "none", "llama3"), ("prompts", "released", "paper")])
def test_two_formats_are_refused(bundle_of, key, ours, own):
    with pytest.raises(DataError, match=rf"key '{key}': the method has {key} '{own}' and the bundle '{ours}'"):
        bundle_of({"name": "pba", key: own}, **{key: ours})


def test_chat_template_without_a_tokenizer_is_refused(bundle_of):
    with pytest.raises(DataError, match=r"key 'chat': .*name policy or tokenizer"):
        bundle_of({"name": "pba", "chat": "template"})


def test_chat_template_of_the_policy(bundle_of, model):
    bundle = bundle_of({"name": "contrast", "chat": "template"}, policy=str(model))
    policy, reward = texts(bundle, prompt=ASK)
    assert policy == reward
    assert policy == bundle.render("ann", bundle.chat.render(ASK))
    assert policy.startswith("<|begin_of_text|>")
    assert policy.count("<|begin_of_text|>") == policy.count("***Task***") == 1
    requests = [RewardRequest("ann", prompt, "Yes.") for prompt in ("Tea?", ASK, bundle.chat.render(ASK))]
    assert len({result.reward for result in bundle.score(requests)}) == 1


def test_a_method_without_a_prompt_reads_the_bare_text(bundle_of, tmp_path):
    chat_tokenizer("llama3").save_pretrained(tmp_path / "tokenizer")
    keys = {"annotator": {"name": "simulator"}, "tokenizer": str(tmp_path / "tokenizer")}
    bundle = bundle_of({"name": "pba_linear"}, **keys)
    seen = []
    levels = bundle._backends.reader.levels
    bundle._backends.reader.levels = lambda prompts, texts: seen.extend(prompts) or levels(prompts, texts)
    bundle.score([RewardRequest("ann", bundle.chat.render(ASK), "we raid every night.")])
    assert seen == ["Tea?"]
    assert bundle.render("ann", "Tea?").startswith("Generate a task-specific response based on user preferences.\n\n")
    assert bundle.render("ann", ASK).startswith("<|begin_of_text|>")


def test_without_a_tokenizer_the_host_makes_the_text(bundle_of):
    bundle = bundle_of({"name": "pba_linear"}, annotator={"name": "simulator"})
    turns = bundle.render_of(bundle.inferred("ann"), ASK)
    assert [turn.role for turn in turns] == ["system", "user"]
    with pytest.raises(DataError, match="key 'tokenizer'"):
        bundle.render("ann", ASK)


def test_a_cut_answer_is_another_answer(bundle_of, model):
    bundle = bundle_of({"name": "contrast", "chat": "template"}, policy=str(model))
    whole, cut, nothing = bundle.score(
        [
            RewardRequest("ann", "Tea?", "Yes", True),
            RewardRequest("ann", "Tea?", "Yes", False),
            RewardRequest("ann", "Tea?", "", False),
        ]
    )
    assert whole.reward != cut.reward
    assert nothing.reward == 0.0


def test_a_prompt_that_is_no_conversation_is_the_fault_of_its_row(bundle_of, model):
    bundle = bundle_of({"name": "contrast", "chat": "template"}, policy=str(model))
    good = RewardRequest("ann", ASK, "Yes")
    half = bundle.chat.render(ASK) + "Well"
    for prompt in ((*ASK, Message("assistant", "Hm.")), (Message("tutor", "x"), *ASK), half):
        with pytest.raises(ScoreError) as caught:
            bundle.score([good, RewardRequest("ann", prompt, "Yes")])
        assert (caught.value.rows, caught.value.kind) == ((1,), "prompt")
