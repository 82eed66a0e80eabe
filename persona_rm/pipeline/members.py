"""From a recipe's names to objects: sources, annotators, inferrers, methods and the backends that they are handed."""

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from persona_rm.annotators import ANNOTATORS
from persona_rm.backends.base import Backends
from persona_rm.backends.logprob.transformers_logprob import TransformersLogProb
from persona_rm.backends.minilm import MiniLM, MiniLMConfig
from persona_rm.backends.pretrained import refuse_own_code
from persona_rm.errors import RecipeError
from persona_rm.inferrers import INFERRERS
from persona_rm.inferrers.base import Inferrer
from persona_rm.methods import METHODS
from persona_rm.methods.base import Method
from persona_rm.pipeline.own_files import own_only
from persona_rm.recipe import Recipe
from persona_rm.registry import Member
from persona_rm.simulator.simulator import Simulator
from persona_rm.sources import SOURCES
from persona_rm.sources.base import Source
from persona_rm.space import PreferenceSpace, load_space

PACKAGED_MODEL = "simulator_lm"
OWN_ANNOTATOR = "encoder"
"""The annotator of a team's own users if the recipe names none."""


def model_folder(name: str) -> Path:
    """The folder of a starting policy: `simulator_lm` is the packaged one.

    Raises `RecipeError` if there is no model, or one that needs Python code of its own: the host would run it.
    """
    return _named_folder(name, "config.json", "model")


def tokenizer_folder(name: str) -> Path:
    """The folder of a policy's tokenizer, with or without the policy itself. Raises as `model_folder` does."""
    return _named_folder(name, "tokenizer_config.json", "tokenizer")


def _named_folder(name: str, needs: str, what: str) -> Path:
    folder = Path(str(files("persona_rm") / "assets" / PACKAGED_MODEL)) if name == PACKAGED_MODEL else Path(name)
    if not (folder / needs).is_file():
        holds = "config.json, weights, tokenizer" if what == "model" else needs
        raise RecipeError(f"no {what} in {folder}: a folder in Hugging Face format ({holds})")
    refuse_own_code(folder)
    return folder.resolve()


def space_of(recipe: Recipe) -> PreferenceSpace:
    """The recipe's preference space."""
    return load_space(recipe.space)


def source_of(recipe: Recipe) -> Source:
    """The recipe's source; nothing is opened."""
    cls, config = SOURCES.member(recipe.source)
    source: Source = cls(config, space_of(recipe))
    return source


def annotator_of(recipe: Recipe) -> Member:
    """The annotator: the recipe's, or what its source declares; for users files without a source the encoder, which
    reads any text."""
    if recipe.annotator:
        return recipe.annotator
    return {"name": OWN_ANNOTATOR if own_only(recipe) else source_of(recipe).default_annotator}


def text_annotator_of(recipe: Recipe) -> Member | None:
    """The annotator of texts that came without levels, or None if the recipe has to name one.

    An annotator that only passes on the levels of its texts (`given`) cannot read such texts; then the source's own
    `text_annotator` does.
    """
    given = annotator_of(recipe)
    cls, _ = ANNOTATORS.member(given)
    if cls.reads_text:
        return given
    own = source_of(recipe).text_annotator
    return None if own is None else {"name": own}


def truth_of(recipe: Recipe) -> Simulator | None:
    """The simulator behind the recipe's source, or None for real data."""
    return None if own_only(recipe) else source_of(recipe).truth()


def simulator_of(recipe: Recipe) -> Simulator:
    """The simulator behind the recipe's source. Raises `RecipeError` for real data."""
    simulator = truth_of(recipe)
    if simulator is None:
        raise RecipeError(f"this needs known truth (source: simulator); the source is {recipe.source['name']!r}")
    return simulator


def backends_of(recipe: Recipe) -> Backends:
    """Encoder and annotator of the recipe, for inferrers that read texts.

    A recipe without an annotator of texts needs data that carry the directions of every item.
    """
    encoder, given = MiniLM(MiniLMConfig()), text_annotator_of(recipe)
    if given is None:
        return Backends(encoder=encoder)
    cls, config = ANNOTATORS.member(given)
    return Backends(encoder=encoder, reader=cls(config, space_of(recipe), Backends(encoder=encoder)))


def inferrer_of(given: Mapping[str, Any], space: PreferenceSpace, backends: Backends | None = None) -> Inferrer:
    """An inferrer by its name and settings; nothing is learned yet."""
    cls, config = INFERRERS.member(given)
    inferrer: Inferrer = cls(config, space, backends or Backends())
    return inferrer


def with_prompts(recipe: Recipe, given: Member) -> Member:
    """The method with the recipe's prompt format and its `chat`, where it has them and names none itself."""
    cls, _ = METHODS.member(given)
    method = dict(given)
    for key, value in (("prompts", recipe.prompts), ("chat", recipe.chat)):
        if value is not None and key in cls.Config.model_fields:
            method.setdefault(key, value)
    return method


def method_of(recipe: Recipe, given: Member, backends: Backends) -> Method:
    """A method by its name and settings, handed its backends."""
    cls, config = METHODS.member(with_prompts(recipe, given))
    method: Method = cls(config, space_of(recipe), backends)
    return method


def policies(policy: Path, reference: Path | None = None, device: str = "auto") -> Backends:
    """Backends with the log-probs of a policy and, for a trained one, of what it was trained from."""
    return Backends(logprob=TransformersLogProb(policy, reference, device=device))
