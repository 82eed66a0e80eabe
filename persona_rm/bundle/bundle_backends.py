"""What a bundle names beside its method: models, as methods are handed them, and the inferrer."""

from pathlib import Path

from persona_rm.annotators import ANNOTATORS
from persona_rm.backends.base import Backends, LogProb
from persona_rm.backends.logprob.transformers_logprob import TransformersLogProb, TransformersOptions
from persona_rm.backends.logprob.vllm_logprob import VllmLogProb
from persona_rm.backends.minilm import MiniLM
from persona_rm.bundle.bundle_file import YAML, BundleFile, path_in
from persona_rm.errors import DataError
from persona_rm.inferrers import INFERRERS
from persona_rm.inferrers.base import Inferrer
from persona_rm.registry import Member
from persona_rm.space import PreferenceSpace


def backends_of_file(file: BundleFile, folder: Path, space: PreferenceSpace) -> Backends:
    """The encoder, the annotator and the log-prob backend of a bundle; no model is loaded yet."""
    encoder, reader = MiniLM(), None
    if file.annotator is not None:
        cls, config = ANNOTATORS.member(file.annotator, folder)
        reader = cls(config, space, Backends(encoder=encoder))
    logprob = _logprob(file, file.policy, folder) if file.policy is not None else None
    return Backends(encoder=encoder, reader=reader, logprob=logprob)


def inferrer_of_file(
    file: BundleFile, given: Member, folder: Path, space: PreferenceSpace, backends: Backends
) -> Inferrer:
    """The inferrer of directions, loaded from `inferrer_dir` if it was fitted.

    Raises `DataError` if that folder belongs to another inferrer, or was fitted with another config.
    """
    cls, config = INFERRERS.member(given, folder)
    if file.inferrer_dir is None:
        new: Inferrer = cls(config, space, backends)
        return new
    learned: Inferrer = cls.load(path_in(folder, file.inferrer_dir), space, backends)
    for key in given.keys() - {"name"}:
        if (wanted := getattr(config, key)) != (fitted := getattr(learned.config, key)):
            problem = f"{key} is {wanted!r} here, and {fitted!r} in {file.inferrer_dir}: fit it again"
            raise DataError(problem, file=folder / YAML, key="inferrer")
    return learned


def _logprob(file: BundleFile, policy: str, folder: Path) -> LogProb:
    model = str(path_in(folder, policy))
    reference = str(path_in(folder, file.reference)) if file.reference else None
    options = file.engine_options
    if isinstance(options, TransformersOptions):
        return TransformersLogProb(model, reference, device=file.device, dtype=file.dtype, **options.model_dump())
    if file.device != "auto" or file.dtype == "float64":
        problem = "engine vllm chooses its device itself and has no float64: leave device out, set dtype"
        raise DataError(problem, file=folder / YAML, key="engine")
    return VllmLogProb(model, reference, dtype=file.dtype, options=options)
