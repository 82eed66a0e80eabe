"""A loaded bundle: users -> states, prompts and rewards."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from persona_rm.backends.base import Backends
from persona_rm.backends.tokens import load_tokenizer
from persona_rm.bundle.bundle_backends import backends_of_file, inferrer_of_file
from persona_rm.bundle.bundle_file import ERASED, YAML, BundleFile, path_in, with_format
from persona_rm.bundle.engine_counters import counters_of, engine_of
from persona_rm.bundle.group_scores import win_rates
from persona_rm.bundle.inferred_state import completed, fitted_state
from persona_rm.bundle.request_reader import RequestReader
from persona_rm.bundle.state_cache import StateCache
from persona_rm.bundle.user_states import FITTED, UserStates
from persona_rm.errors import DataError, ErrorKind, ScoreError, StoreDown, UnknownName
from persona_rm.inferrers.base import Inferrer
from persona_rm.io.log_ids import LogIds
from persona_rm.methods import METHODS
from persona_rm.methods.base import Method, PromptedMethod
from persona_rm.profiles import ProfileStore, open_store
from persona_rm.profiles.arrow import ArrowSnapshot
from persona_rm.profiles.tombstones import Tombstones
from persona_rm.prompts import ChatTemplate, PromptFormat, load_prompts, text_of
from persona_rm.space import PreferenceSpace, load_space
from persona_rm.types import (
    Directions,
    Levels,
    Persona,
    Prompt,
    RewardRequest,
    RewardResult,
    RewardTrace,
    Status,
    UserState,
)
from persona_rm.users.users_file import NO_GROUP, User

UNKNOWN = "unknown"
"""The group in which the rewards of unknown and erased users, and of requests without a user, are logged."""


class Bundle:
    """A loaded bundle. Models and states are loaded when they are first needed. It is not thread-safe.

    A user has two states: the *inferred* state says what the user prefers (`UserStates`), and the method's own state
    is adapted from it. Both have the same version, evidence and status.
    """

    def __init__(self, folder: Path, file: BundleFile, users: dict[str, User]) -> None:
        self.folder, self.file, self.users = folder, file, users
        self._states_kept: StateCache[tuple[UserState, UserState]] = StateCache(file.states)

    @cached_property
    def space(self) -> PreferenceSpace:
        """The preference space."""
        return load_space(self.file.space)

    @cached_property
    def prompts(self) -> PromptFormat:
        """The format in which the policy reads a user: that of the method, if the method has one."""
        return load_prompts(self._settings.prompts or "released", self._settings.chat).with_template(self.chat)

    @cached_property
    def chat(self) -> ChatTemplate | None:
        """The chat side of the policy's tokenizer; None if the bundle names no tokenizer and no policy."""
        if self.file.tokenizer is None:
            return self._backends.chat_template()
        return ChatTemplate(lambda: load_tokenizer(self.path(str(self.file.tokenizer))))

    @cached_property
    def reader(self) -> RequestReader:
        """Reads requests before the method does."""
        return RequestReader(self.chat, strip_think=self.file.strip_think, limits=self.file.limits)

    @cached_property
    def _settings(self) -> BundleFile:
        return with_format(self.file, self.folder)

    @cached_property
    def method(self) -> Method:
        """The reward method, loaded from `method_dir` if it was fitted."""
        return self._method(self._settings.method, self.file.method_dir, "method")

    @cached_property
    def universal(self) -> Method | None:
        """The universal reward model, the same for all users; None if the bundle names none."""
        given = self.file.universal
        return self._method(given.method, given.method_dir, "universal.method") if given else None

    @cached_property
    def safety(self) -> Method | None:
        """The safety model; None if the bundle names none."""
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
        """The inferrer of directions, loaded from `inferrer_dir` if it was fitted.

        Raises `DataError` if that folder belongs to another inferrer, or was fitted with another config.
        """
        if self.file.inferrer is None:
            return None
        return inferrer_of_file(self.file, self.file.inferrer, self.folder, self.space, self._backends)

    @cached_property
    def store(self) -> ProfileStore | None:
        """The open profile store; None if the bundle names none. Raises `DataError` if it cannot be opened."""
        if self.file.profiles is None:
            return None
        try:
            return open_store(self.file.profiles)
        except UnknownName as error:
            raise DataError(str(error), file=self.folder / YAML, key="profiles") from error

    @cached_property
    def fitted(self) -> ArrowSnapshot | None:
        """The open snapshot of fitted states; None if the bundle names none. Raises `DataError` if it cannot be
        opened."""
        given = self.file.fitted_states
        return ArrowSnapshot(self.path(given)).open() if given is not None else None

    @cached_property
    def user_states(self) -> UserStates:
        """The inferred states of all users."""
        return UserStates(
            self.space, self.users, self.inferrer, self.store, fitted=self.fitted, refresh=self.file.refresh,
            capacity=self.file.states, tombstones=self.tombstones, on_erased=self._forget,
        )  # fmt: skip

    @cached_property
    def tombstones(self) -> Tombstones:
        """The users who were erased from this bundle."""
        return Tombstones(self.folder / ERASED)

    @cached_property
    def log_ids(self) -> LogIds:
        """How logs write user ids. A reward actor that logs into a run sets those of the run."""
        return LogIds.in_folder(self.folder, plain=self.file.log_users == "plain")

    @cached_property
    def groups(self) -> list[str]:
        """The users' groups, sorted; users that only the store knows are in "all"."""
        extra = {NO_GROUP} if self.file.profiles is not None else set()
        return sorted({user.group for user in self.users.values()} | extra)

    @cached_property
    def log_dims(self) -> list[str]:
        """At most 16 dimensions: `log_dims` of the file, or those on which most users have a direction."""
        if self.file.log_dims is not None:
            return self.file.log_dims
        given = [user.persona.directions for user in self.users.values() if user.persona.directions]
        counts = Counter(i for directions in given for i, d in enumerate(directions) if d)
        return [self.space.ids[i] for i, _ in counts.most_common(16)]

    def close(self) -> None:
        """Close what was opened so far: engines with their processes, and the store. What was not opened stays so."""
        # Read through `vars`: the cached properties themselves would open what is only to be closed.
        backends: Backends = vars(self).get("_backends", Backends())
        stores = vars(self).get("store"), vars(self).get("fitted")
        held = (backends.encoder, backends.logprob, backends.reader, backends.generator, *stores)
        for resource in held:
            if (close := getattr(resource, "close", None)) is not None:
                close()

    def path(self, text: str) -> Path:
        """A path in bundle.yaml, which may be relative to the folder."""
        return path_in(self.folder, text)

    def inferred(self, user_id: str | None, prompt: str = "") -> UserState:
        """What the user prefers at this prompt: the state with directions and probabilities."""
        return self.user_states.find([(user_id, prompt)])[0]

    def state(self, user_id: str | None, prompt: str = "") -> UserState:
        """The method's state of the user; that of an unknown or erased user is the method's prior."""
        return self._state(self.inferred(user_id, prompt), prompt)

    def persona(self, user_id: str, prompt: str = "") -> Persona:
        """The user's evidence with directions, given or inferred. An unknown user has neither."""
        return self.persona_of(self.inferred(user_id, prompt))

    def persona_of(self, inferred: UserState) -> Persona:
        """The evidence of the users file with the directions of the inferred state."""
        user_id = inferred.user_id or ""
        if not inferred.known:
            return Persona(user_id)
        persona = self.users[user_id].persona if user_id in self.users else Persona(user_id)
        return persona.with_directions(inferred.directions)

    def group_of(self, inferred: UserState) -> str:
        """The group in which this user's rewards are logged; `UNKNOWN` for an unknown user."""
        if not inferred.known or inferred.user_id is None:
            return UNKNOWN
        return self.users[inferred.user_id].group if inferred.user_id in self.users else NO_GROUP

    def directions(self, user_id: str | None, prompt: str = "") -> Directions | None:
        """The user's directions; None for an unknown user and if nothing could be inferred."""
        inferred = self.inferred(user_id, prompt)
        return inferred.directions if inferred.known else None

    def profile(self, user_id: str | None, prompt: str = "") -> str:
        """The directions in words, "" for an unknown user."""
        return self.profile_of(self.inferred(user_id, prompt))

    def profile_of(self, inferred: UserState) -> str:
        """The directions of an inferred state in words."""
        return self.space.describe(inferred.directions) if inferred.known and inferred.directions else ""

    def render(self, user_id: str | None, prompt: Prompt) -> str:
        """`prompt` as the policy reads it for this user. Raises `DataError` if only the host has the chat template."""
        rendered = self.render_of(self.inferred(user_id, text_of(self.reader.bare(prompt))), prompt)
        if isinstance(rendered, str):
            return rendered
        problem = (
            "the chat template of the policy's tokenizer makes the prompt's text, and none is named: name it here,"
        )
        raise DataError(f"{problem} or by `persona-rm bundle --tokenizer`", file=self.folder / YAML, key="tokenizer")

    def render_of(self, inferred: UserState, prompt: Prompt) -> Prompt:
        """`prompt` as the policy reads it for the user of this inferred state.

        The turns of a chat if only the host's tokenizer has the template that makes a text of them. Raises `DataError`
        for a rendered prompt that cannot be unwrapped.
        """
        prompt = self.reader.bare(prompt)
        if self._settings.policy_prompt == "method" and isinstance(self.method, PromptedMethod):
            state = self._state(inferred, text_of(prompt))
            return self.method.render(state, prompt if self.method.takes_messages else text_of(prompt))
        prompts = self.prompts
        if not isinstance(prompt, str) and self._settings.chat is None and not isinstance(self.method, PromptedMethod):
            prompts = replace(prompts, chat="template")
        if not inferred.known or self._settings.policy_prompt == "plain":
            turns = prompts.plain_turns(prompt)
        elif self._settings.policy_prompt == "ica":
            turns = prompts.ica_turns(self.persona_of(inferred), prompt)
        else:
            turns = prompts.pba_turns(self.profile_of(inferred), prompt)
        return turns if prompts.chat == "template" and self.chat is None else prompts.text_of_turns(turns)

    def score(self, requests: Sequence[RewardRequest]) -> list[RewardResult]:
        """The method's reward of each request for its user, in one call of the method. Raises `ScoreError`.

        The traces name the user, the version of the state and the evidence behind it.
        """
        requests = self.reader.read_all(requests, self.method)
        inferred = self._inferred(requests)
        results = self.method.score(self._states(inferred, requests), requests)
        with_users = []
        for state, result in zip(inferred, results, strict=True):
            with_users.append(RewardResult(result.reward, completed(result.trace, state, self.group_of(state))))
        return with_users

    def compare(self, requests: Sequence[RewardRequest]) -> list[RewardResult]:
        """For a method that only compares: the reward of a response is the share of the others that it beats.

        All requests are of one user and one prompt. `inputs["prior"]` is the same share by the method's prior, if
        post-processing needs it. Raises `ScoreError`.
        """
        requests = self.reader.read_all(requests, self.method)
        # One user and one prompt have one state, and the method compares all responses under it.
        (inferred,) = self._inferred(requests[:1])
        states = self._states([inferred], requests[:1])
        if self.file.postprocess.needs_prior:
            states.append(self.method.prior())
        rates = [win_rates(matrix) for matrix in self.method.compare(states, [requests] * len(states))]
        status: Status = "ok" if inferred.known else "cold"
        results = []
        for i, rate in enumerate(rates[0]):
            trace = completed(RewardTrace(rate, status=status), inferred, self.group_of(inferred))
            if len(rates) > 1:
                trace = replace(trace, inputs={**trace.inputs, "prior": rates[1][i]})
            results.append(RewardResult(rate, trace))
        return results

    def levels(self, prompt: str, response: str) -> Levels | None:
        """The levels that the bundle's annotator reads in a response; None without an annotator."""
        reader = self._backends.reader
        return reader.levels([prompt], [response])[0] if reader is not None else None

    def engine_counters(self) -> dict[str, int]:
        """The counters of the engine, by the names of `ENGINE`; all 0 without one, and until it is opened."""
        # Read through `vars`: the cached property itself would open what is only to be asked for its counters.
        return counters_of(engine_of(vars(self).get("_backends", Backends())))

    def _inferred(self, requests: Sequence[RewardRequest]) -> list[UserState]:
        try:
            return self.user_states.find([(request.user, request.prompt_text) for request in requests])
        except DataError as error:
            raise self._user_error(error) from error

    def _states(self, inferred: Sequence[UserState], requests: Sequence[RewardRequest]) -> list[UserState]:
        states = []
        for i, (state, request) in enumerate(zip(inferred, requests, strict=True)):
            try:
                states.append(self._state(state, request.prompt_text))
            except DataError as error:
                rows = (i,) if len(requests) > 1 else ()
                raise self._user_error(error, rows) from error
        return states

    def _user_error(self, error: DataError, rows: tuple[int, ...] = ()) -> ScoreError:
        """What is known about a user cannot be used, or not now. The cause has hashes in place of user ids."""
        kind: ErrorKind = "down" if isinstance(error, StoreDown) else "user"
        return ScoreError(str(error), rows, kind, cause=self.log_ids.hide(error.problem))

    def _forget(self) -> None:
        """Drop every kept state and what the models keep of texts: users were erased, and keys do not name them."""
        self._states_kept = StateCache(self.file.states)
        vars(self).get("_backends", Backends()).forget_texts()

    def _state(self, inferred: UserState, prompt: str) -> UserState:
        """The method's state, which is adapted again if the directions changed. A prior is not cached."""
        key = self.user_states.key(inferred.user_id, prompt)
        if not inferred.known:
            self._states_kept.drop(key)
            return replace(self.method.prior(), version=0, status=inferred.status, known=False)
        before, state = self._states_kept.get(key) or (None, None)
        if state is None or before is not inferred:
            # A state that was looked up again and has the same directions need not be adapted again; only its
            # version, evidence and status are new.
            if FITTED in inferred.payload:
                state = fitted_state(inferred, self.method.name, self.folder / YAML)
            elif state is None or before is None or before.directions != inferred.directions:
                state = self.method.adapt(self.persona_of(inferred))
            state = replace(
                state, version=inferred.version, evidence=inferred.evidence, status=inferred.status, known=True
            )
        self._states_kept.keep(key, (inferred, state))
        return state

    @cached_property
    def _backends(self) -> Backends:
        return backends_of_file(self.file, self.folder, self.space)
