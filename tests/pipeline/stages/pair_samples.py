"""Two users of opposite tastes with a reward that needs no model, and what is written about both."""

import json
from pathlib import Path

from persona_rm.backends.base import Generation
from persona_rm.bundle import Bundle, load_bundle, write_bundle
from persona_rm.space import load_space
from persona_rm.types import Persona, Ugc

SCIENCE, GAMING, NEITHER = "i read physics journals.", "we raid every night.", "it was fine."
"""The simulator's annotator reads a direction in the first two and none in the third."""


def two_users(folder: Path, **keys: object) -> Bundle:
    """ann likes science and dislikes gaming, bob is her opposite, and nothing is known about cid."""
    space = load_space("alignx90")
    ann = Persona("ann", (Ugc("q", SCIENCE),), directions=space.parse("Likes Science, Dislikes Gaming"))
    bob = Persona("bob", (Ugc("q", GAMING),), directions=space.parse("Likes Gaming, Dislikes Science"))
    given = {"method": {"name": "pba_linear"}, "annotator": {"name": "simulator"}, **keys}
    return load_bundle(write_bundle(folder / "bundle", [ann, bob, Persona("cid")], **given))


def pref(user: str | None = "ann", chosen: object = SCIENCE, rejected: object = GAMING, **more: object) -> dict:
    """A row of preference data."""
    row = {"prompt": "How was your weekend?", "chosen": chosen, "rejected": rejected, **more}
    return row if user is None else {**row, "user": user}


def write(path: Path, rows: list) -> str:
    """JSON lines; a text stands in its line as it is."""
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("".join(f"{line}\n" for line in lines))
    return str(path)


def read(path: Path) -> list[dict]:
    """The rows of JSON lines."""
    return [json.loads(line) for line in path.read_text().splitlines()]


class ScriptedSampler:
    """A `Sampler` that gives the texts of `script` in turn. A prompt that contains `refused` gets an error."""

    def __init__(self, script: list[str], refused: str = "\0", cut: tuple[str, ...] = ()) -> None:
        self.script, self.refused, self.cut = script, refused, cut
        self.prompts: list[str] = []
        self.seeds: list[int] = []

    def sample(self, prompts, seeds, *, n, max_tokens, temperature):
        self.prompts += prompts
        self.seeds += seeds
        answers = [Generation(text, finished=text not in self.cut) for text in self.script]
        return [[Generation(error="too long")] if self.refused in prompt else answers[:n] for prompt in prompts]
