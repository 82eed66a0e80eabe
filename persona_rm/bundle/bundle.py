"""A loaded bundle: people -> states, prompts and scores."""

from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from persona_rm.annotators import ANNOTATORS
from persona_rm.backends.base import Backends, LogProb
from persona_rm.backends.logprob.transformers_logprob import TransformersLogProb, TransformersOptions
from persona_rm.backends.logprob.vllm_logprob import VllmLogProb
from persona_rm.backends.minilm import MiniLM
from persona_rm.bundle.bundle_file import YAML, BundleFile
from persona_rm.bundle.user_states import Known, UserPrompt, UserStates
from persona_rm.errors import DataError, ScoreError, UnknownName
from persona_rm.inferrers import INFERRERS
from persona_rm.inferrers.base import Inferrer
from persona_rm.methods import METHODS
from persona_rm.methods.base import Method
from persona_rm.profiles import ProfileStore, open_store
from persona_rm.prompts import PromptFormat, load_prompts
from persona_rm.space import PreferenceSpace, load_space
from persona_rm.types import Directions, Persona, Score, ScoreRequest, UserState
from persona_rm.users.users_file import NO_GROUP, User


class Bundle:
    """A loaded bundle. Models and states come when they are first needed. One thread at a time."""

    def __init__(self, folder: Path, file: BundleFile, users: Mapping[str, User]) -> None:
        self.folder, self.file, self.users = folder, file, users
        self._states: OrderedDict[UserPrompt, tuple[Directions | None, UserState]] = OrderedDict()

    @cached_property
    def space(self) -> PreferenceSpace:
        """The preference space."""
        return load_space(self.file.space)

    @cached_property
    def prompts(self) -> PromptFormat:
        """The format in which the policy reads a person."""
        return load_prompts(self.file.prompts)

    @cached_property
    def method(self) -> Method:
        """The reward method, loaded from `method_dir` where it learned something."""
        return self._method(self.file.method, self.file.method_dir, "method")

    @cached_property
    def universal(self) -> Method | None:
        """The reward model of everybody, None where the bundle names none."""
        given = self.file.universal
        return self._method(given.method, given.method_dir, "universal.method") if given else None

    @cached_property
    def safety(self) -> Method | None:
        """The safety model, None where the bundle names none."""
        given = self.file.safety
        return self._method(given.method, given.method_dir, "safety.method") if given else None

    def _method(self, given: Mapping[str, Any], learned_in: str | None, key: str) -> Method:
        cls, config = METHODS.member(given, self.folder, key)
        if learned_in is not None:
            learned: Method = cls.load(self.path(learned_in), self.space, self._backends)
            return learned
        method: Method = cls(config, self.space, self._backends)
        return method

    @cached_property
    def inferrer(self) -> Inferrer | None:
        """Who infers directions, loaded from `inferrer_dir` where it learned something. Raises `DataError` where that
        folder is another's, or was learned with another config than the bundle asks for."""
        if self.file.inferrer is None:
            return None
        path = self.folder / YAML
        cls, config = INFERRERS.member(self.file.inferrer, self.folder)
        if self.file.inferrer_dir is None:
            new: Inferrer = cls(config, self.space, self._backends)
            return new
        learned: Inferrer = cls.load(self.path(self.file.inferrer_dir), self.space, self._backends)
        for key in self.file.inferrer.keys() - {"name"}:
            if (asked := getattr(config, key)) != (found := getattr(learned.config, key)):
                problem = f"{key} is {asked!r} here, and {found!r} in {self.file.inferrer_dir}: fit it again"
                raise DataError(problem, file=path, key="inferrer")
        return learned

    @cached_property
    def store(self) -> ProfileStore | None:
        """The open profile store, None where the bundle names none. Raises `DataError` where it cannot be opened."""
        if self.file.profiles is None:
            return None
        try:
            return open_store(self._absolute(self.file.profiles))
        except UnknownName as error:
            raise DataError(str(error), file=self.folder / YAML, key="profiles") from error

    @cached_property
    def user_states(self) -> UserStates:
        """What is known about whom."""
        return UserStates(
            self.space, self.users, self.inferrer, self.store, refresh=self.file.refresh, capacity=self.file.states
        )

    @cached_property
    def groups(self) -> list[str]:
        """The users' groups, sorted; people whom only the store knows are in "all"."""
        extra = {NO_GROUP} if self.file.profiles is not None else set()
        return sorted({user.group for user in self.users.values()} | extra)

    @cached_property
    def log_dims(self) -> list[str]:
        """At most 16 dimensions: `log_dims` of the file, or those that most users have a direction on."""
        if self.file.log_dims is not None:
            return self.file.log_dims
        given = [user.persona.directions for user in self.users.values() if user.persona.directions]
        counts = Counter(i for directions in given for i, d in enumerate(directions) if d)
        return [self.space.ids[i] for i, _ in counts.most_common(16)]

    def close(self) -> None:
        """Let go of what was opened so far: engines with their processes, the store. Nothing is opened for it."""
        backends: Backends = vars(self).get("_backends", Backends())
        held = (backends.encoder, backends.logprob, backends.reader, backends.generator, vars(self).get("store"))
        for one in held:
            if (close := getattr(one, "close", None)) is not None:
                close()

    def path(self, text: str) -> Path:
        """A path of bundle.yaml."""
        return self.folder / Path(text).expanduser()

    def known(self, user_id: str | None, prompt: str = "") -> Known:
        """What is known about this person who is about to ask `prompt`."""
        return self.user_states.find([(user_id, prompt)])[0]

    def state(self, user_id: str | None, prompt: str = "") -> tuple[UserState, bool]:
        """The person's state and whether they are known; nobody, a stranger and the erased get the method's prior."""
        known = self.known(user_id, prompt)
        return self._state(known, prompt), known.user_known

    def persona(self, user_id: str, prompt: str = "") -> Persona:
        """The person with directions: their own, or the inferrer's. A stranger has no evidence and none."""
        return self.persona_of(self.known(user_id, prompt))

    def persona_of(self, known: Known) -> Persona:
        """The evidence of the users file with the directions that are known."""
        user_id = known.user or ""
        if not known.user_known:
            return Persona(user_id)
        persona = self.users[user_id].persona if user_id in self.users else Persona(user_id)
        return persona.with_directions(known.directions)

    def group_of(self, known: Known) -> str | None:
        """The group whose curve this person counts in; None for a stranger."""
        if not known.user_known or known.user is None:
            return None
        return self.users[known.user].group if known.user in self.users else NO_GROUP

    def directions(self, user_id: str | None, prompt: str = "") -> Directions | None:
        """The person's directions; None for a stranger and where nothing could be inferred."""
        known = self.known(user_id, prompt)
        return known.directions if known.user_known else None

    def profile(self, user_id: str | None, prompt: str = "") -> str:
        """The directions in words, "" for a stranger."""
        return self.profile_of(self.known(user_id, prompt))

    def profile_of(self, known: Known) -> str:
        """Directions in words."""
        return self.space.describe(known.directions) if known.user_known and known.directions else ""

    def render(self, user_id: str | None, prompt: str) -> str:
        """`prompt` as the policy reads it from this person; a stranger's is the plain format."""
        return self.render_of(self.known(user_id, prompt), prompt)

    def render_of(self, known: Known, prompt: str) -> str:
        """`prompt` after what is known."""
        if not known.user_known or self.file.policy_prompt == "plain":
            return self.prompts.plain(prompt)
        if self.file.policy_prompt == "ica":
            return self.prompts.ica(self.persona_of(known), prompt)
        return self.prompts.pba(self.profile_of(known), prompt)

    def score(self, items: Sequence[tuple[str | None, str, str]]) -> list[Score]:
        """(user, prompt, response) rows -> one `Score` each, in one call of the method. Raises `ScoreError`."""
        return [score for _, score in self.score_known(items)]

    def score_known(self, items: Sequence[tuple[str | None, str, str]]) -> list[tuple[Known, Score]]:
        """`score`, and what was known about the person of each row when it was scored."""
        try:
            found = self.user_states.find([(user, prompt) for user, prompt, _ in items])
            states = [self._state(known, prompt) for known, (_, prompt, _) in zip(found, items, strict=True)]
        except DataError as error:
            raise ScoreError(str(error)) from error
        rows = zip(states, items, strict=True)
        requests = [ScoreRequest(state, prompt, (response,)) for state, (_, prompt, response) in rows]
        return list(zip(found, self.method.score(requests), strict=True))

    def _state(self, known: Known, prompt: str) -> UserState:
        """Adapted again when the directions are others than before; of a stranger and the erased nothing is kept."""
        key = self.user_states.key(known.user, prompt)
        if not known.user_known:
            self._states.pop(key, None)
            return self.method.prior()
        directions, state = self._states.get(key, (None, None))
        if state is None or directions != known.directions:
            state = self.method.adapt(self.persona_of(known))
        self._states[key] = known.directions, state
        self._states.move_to_end(key)
        while len(self._states) > self.file.states:
            self._states.popitem(last=False)
        return state

    def _absolute(self, url: str) -> str:
        """The URL of a store, where it is a file with a path that does not depend on where we are."""
        scheme, colon, path = url.partition(":")
        if colon and scheme in ("arrow", "sqlite") and path and not path.startswith("//"):
            return f"{scheme}:{self.path(path)}"
        return url if colon else str(self.path(url))

    @cached_property
    def _backends(self) -> Backends:
        encoder, reader = MiniLM(), None
        if self.file.annotator is not None:
            cls, config = ANNOTATORS.member(self.file.annotator, self.folder)
            reader = cls(config, self.space, Backends(encoder=encoder))
        logprob = self._logprob(self.file.policy) if self.file.policy is not None else None
        return Backends(encoder=encoder, reader=reader, logprob=logprob)

    def _logprob(self, policy: str) -> LogProb:
        file, model, where = self.file, str(self.path(policy)), self.folder / YAML
        reference = str(self.path(file.reference)) if file.reference else None
        options = file.engine_options
        if isinstance(options, TransformersOptions):
            return TransformersLogProb(model, reference, device=file.device, dtype=file.dtype, **options.model_dump())
        if file.device != "auto" or file.dtype == "float64":
            problem = "engine vllm chooses its device itself and has no float64: leave device out, set dtype"
            raise DataError(problem, file=where, key="engine")
        return VllmLogProb(model, reference, dtype=file.dtype, options=options)
