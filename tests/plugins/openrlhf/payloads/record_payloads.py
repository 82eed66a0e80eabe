"""Records what OpenRLHF sends for samples of every kind:

    PYTHONPATH=tests/plugins python -m payloads.record_payloads

The rows go through the host's own `preprocess_data` and rollout actor, with the packaged tokenizer and an engine that
says the given answer; `query`, `prompts` and `labels` are what its executor then handed to the reward. What was
expected stands in the cases below, by hand; the rewards are the bundle's own, asked in this process for that person,
prompt and answer.
"""

import asyncio
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openrlhf.datasets.prompts_dataset import preprocess_data

from persona_rm.hosts.openrlhf import host_version
from persona_rm.space import load_space
from persona_rm.types import RewardRequest
from tests.plugins.openrlhf.payloads.host_samples import (
    CHATML,
    TOKENIZER,
    Engine,
    params,
    read,
    rollout,
    tokens,
    write_users,
)

FILE = Path(__file__).with_name("openrlhf.json")
END = TOKENIZER.eos_token
MAX_TOKENS = 48
ABOUT = (
    "Recorded by tests/plugins/openrlhf/payloads/record_payloads.py: "
    "datasets.prompts_dataset.preprocess_data makes prompts, "
    "utils.agent.SingleTurnAgentExecutor.execute inside trainer.ray.vllm_engine.RolloutRayActor makes query, prompts "
    "and labels. The engine says the tokens of `answer`. `asked` was written by hand; `reward` is the bundle's."
)


@dataclass(frozen=True)
class Case:
    """A row of a data set and the policy's answer; then whom and what the reward must be for.

    `response` None: `answer` without the end. `by_tokens`: what the agent door reads where that is another text.
    """

    name: str
    prompt: Any
    label: Any
    answer: str = f" I would not say so.{END}"
    user: str | None = None
    bad: bool = False
    bare: str | None = None
    response: str | None = None
    by_tokens: str | None = None
    max_len: int = 512
    chat: bool = False
    template: str | None = None

    @property
    def text(self) -> str:
        """The response that is scored."""
        return self.answer.removesuffix(END) if self.response is None else self.response


LONG = "The bus was late again, the rain came down and nobody had told me that the office was closed. " * 3
SPOKEN = TOKENIZER.decode(tokens(LONG)[:MAX_TOKENS])
"""So far the policy came."""
TEA = "Q: tea?\nA:"
DRESSED = "Likes tea, dislikes noise.\n\nQ: Is it quiet there?\nA:"
BARE = "Q: Is it quiet there?\nA:"
LABELS = [
    Case("label: a user id", TEA, "p1", user="p1"),
    Case("label: an object", TEA, {"user": "p2"}, user="p2"),
    Case(
        "label: an object with more keys", "Q: 6 x 7?\nA:", {"user": "p3", "answer": 42, "tags": ["maths"]}, user="p3"
    ),
    Case("label: an object as text", TEA, '{"user": "p4"}', user="p4"),
    Case("label: a user id as JSON text", TEA, '"p5"', user="p5"),
    Case("label: with the bare prompt", DRESSED, {"user": "p6", "prompt": BARE}, user="p6", bare=BARE),
    Case(
        "label: with the bare prompt, as text",
        DRESSED,
        json.dumps({"user": "p7", "prompt": BARE}),
        user="p7",
        bare=BARE,
    ),
    Case("label: nobody", TEA, None),
    Case("label: empty text, the host's own without label_key", TEA, ""),
    Case("label: an empty object", TEA, {}),
    Case("label: a user of null", TEA, {"user": None}),
    Case("label: a user of no letters", TEA, {"user": ""}),
    Case("label: a stranger", TEA, "nobody-knows", user="nobody-knows"),
    Case("label: a name with spaces and marks", TEA, {"user": " p1; DROP TABLE'\n"}, user=" p1; DROP TABLE'\n"),
    Case("label: a list", TEA, ["p1"], bad=True),
    Case("label: a number", TEA, 17, user="17"),
    Case("label: broken JSON", TEA, '{"user": ', bad=True),
    Case("label: a user of a number", TEA, {"user": 3}, user="3"),
    Case("label: a prompt of no text", TEA, {"user": "p1", "prompt": 3}, bad=True),
]
TEXTS = [
    Case(
        "chat template, special tokens behind",
        [{"role": "user", "content": "Tea?"}],
        "p8",
        f"Yes, always.<|im_end|>\n{END}",
        "p8",
        response="Yes, always.",
        by_tokens="Yes, always.<|im_end|>\n",
        chat=True,
    ),
    Case(
        "chat template, several turns",
        [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Tea?"},
            {"role": "assistant", "content": "Yes."},
            {"role": "user", "content": "Why?"},
        ],
        {"user": "p9"},
        user="p9",
        chat=True,
    ),
    Case("input template", "Tea?", "p10", user="p10", template="User: {}\n\nAssistant:"),
    Case("a special token inside the prompt", f"Hello.{END}\nTea?", "p11", user="p11"),
    Case(
        "a special token inside the answer", "Tea?", "p12", f" Yes{END} and no.{END}", "p12", by_tokens=" Yes and no."
    ),
    Case("special tokens only by their letters", "Tea?", "p13", f" <s>bold</s?> <|x{END}", "p13"),
    Case("padding behind the end", "Tea?", "p14", f" Yes.{END}<pad><pad>", "p14", response=" Yes."),
    Case("no end: the answer was cut at max_tokens", "Tea?", "p15", LONG, "p15", response=SPOKEN),
    Case("an empty answer", "Tea?", "p16", END, "p16"),
    Case("an answer of white space", "Tea?", "p17", f" \n\t \n{END}", "p17", response="", by_tokens=" \n\t \n"),
    Case(
        "an answer that ends in white space",
        "Tea?",
        "p18",
        f" Yes. \n{END}",
        "p18",
        response=" Yes.",
        by_tokens=" Yes. \n",
    ),
    Case("many newlines on both sides", "\n\n\nTea?\n\n\n\n\n", "p19", f"\n\n\n\nYes.\n\n\nOr\nno.{END}", "p19"),
    Case("Windows line ends, tabs, no-break spaces", "Tea?\r\n\t\u00a0A:", "p20", f"\r\n\tYes.\u00a0No.{END}", "p20"),
    Case(
        "the answer repeats the prompt",
        "Tea? ",
        "p21",
        f"Tea? Tea? Tea? {END}",
        "p21",
        response="Tea? Tea? Tea?",
        by_tokens="Tea? Tea? Tea? ",
    ),
    Case(
        "unicode",
        "\u4f60\u597d \U0001f642 caf\u00e9 e\u0301 \u0645\u0631\u062d\u0628\u0627?",
        "p22",
        f" \U0001f469\u200d\U0001f469\u200d\U0001f467 \u2192 \u201cja\u201d \u200b\u00df{END}",
        "p22",
    ),
    Case("a prompt that was cut at its beginning", LONG + "Was it?", "p23", user="p23", max_len=96),
    Case("a cut prompt of many newlines", "Once.\n\n\n" + LONG + "\n\n\n", "p0", f"\n\nYes.{END}", "p0", max_len=96),
    Case(
        "a cut prompt, its bare form in the label",
        LONG + "Was it?",
        {"user": "p1", "prompt": "Was it?"},
        user="p1",
        bare="Was it?",
        max_len=96,
    ),
]
CASES = [*LABELS, *TEXTS]


def prompt_of(case: Case) -> tuple[str, Any]:
    """The prompt and the label, as the host's data set makes them."""
    chat = None
    if case.chat:
        TOKENIZER.chat_template = CHATML
        chat = TOKENIZER.apply_chat_template
    return preprocess_data({"x": case.prompt, "y": case.label}, case.template, "x", "y", chat)


def host_call(case: Case) -> dict[str, Any]:
    """What the host hands to the reward for this sample, in the names of its HTTP payload."""
    actor, seen = rollout(Engine(lambda _: tokens(case.answer)), "func", "none"), []
    actor.executor.reward_func = lambda *lists: seen.append(lists)
    prompt, label = prompt_of(case)
    asyncio.run(actor.generate_responses(prompt, label, params(MAX_TOKENS), case.max_len, TOKENIZER))
    return dict(zip(("query", "prompts", "labels"), seen[0], strict=True))


def record(case: Case, bundle: Any) -> dict[str, Any]:
    """The case as it is stored."""
    call = host_call(case)
    prompt = case.bare or call["prompts"][0]
    (result,) = bundle.score([RewardRequest(case.user, prompt, case.text)])
    logs = {"persona_rm/cold": float(not result.trace.user_known), "persona_rm/bad_label": float(case.bad)}
    logs["persona_rm/empty"] = float(not case.text.strip())
    asked = {"user": case.user, "prompt": prompt, "response": case.text, "bad_label": case.bad}
    return {
        "name": case.name, "answer": case.answer, "max_len": case.max_len, "call": call,
        "cut": not call["query"][0].startswith(call["prompts"][0]), "asked": asked,
        "by_tokens": case.text if case.by_tokens is None else case.by_tokens, "reward": result.reward, "logs": logs,
    }  # fmt: skip


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        bundle = read(write_users(Path(folder) / "bundle", load_space("alignx90")))
        cases = [record(case, bundle) for case in CASES]
    host = {
        "host": f"openrlhf {host_version()}",
        "tokenizer": "persona_rm/assets/simulator_lm",
        "max_tokens": MAX_TOKENS,
    }
    whole = {"about": ABOUT, **host, "cases": cases}
    FILE.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
