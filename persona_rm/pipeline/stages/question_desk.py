"""An interview of one user: the fitted inferrer of a recipe, a bank of its built pairs, and a store for the state."""

from dataclasses import dataclass, replace

from persona_rm.backends.base import LevelReader
from persona_rm.errors import RecipeError
from persona_rm.inferrers import INFERRERS
from persona_rm.inferrers.ask import QuestionChooser, portraits, question_bank
from persona_rm.inferrers.base import Inferrer, ModelInferrer
from persona_rm.inferrers.questions import Interview
from persona_rm.inferrers.tally import Tally
from persona_rm.pipeline.members import backends_of, space_of
from persona_rm.pipeline.run import RunFolder
from persona_rm.pipeline.stages.infer import FITTED, FOLDER
from persona_rm.pipeline.stages.train import examples_of
from persona_rm.profiles import open_store
from persona_rm.recipe import InferConfig

BANK = 4000
"""Pairs to choose questions from."""


@dataclass
class QuestionDesk:
    """One user's interview, and the store that keeps it."""

    interview: Interview
    reader: LevelReader
    user: str
    store: str
    version: int = 0
    readmit: bool = False

    def __post_init__(self) -> None:
        self._saved = _copy(self.interview.tally)

    def save(self) -> None:
        """Put what the user said since the last `save` into the store, on top of what others stored meanwhile."""
        interview, saved = self.interview, self._saved
        inferrer, tally = interview.inferrer, interview.tally
        entries = {id_: entry for id_, entry in tally.entries.items() if saved.entries.get(id_) != entry}
        answers = {id_: answer for id_, answer in tally.answers.items() if saved.answers.get(id_) != answer}
        with open_store(self.store, create=True) as store:

            def update() -> tuple[Tally, int]:
                stored = store.get([self.user]).get(self.user)
                known, version = (inferrer.resume(stored), stored.version) if stored else (inferrer.empty(), 0)
                new = replace(known, entries={**known.entries, **entries}, answers={**known.answers, **answers})
                state = inferrer.state(self.user, new, version + 1)
                store.put([state], readmit=self.readmit, read={self.user: version})
                return new, state.version

            interview.tally, self.version = store.retry_stale(update)
        self._saved = _copy(interview.tally)


def interview_of(run: RunFolder, user: str, store: str = "", *, readmit: bool = False) -> QuestionDesk:
    """An interview of `user`, who may be known already.

    Raises `RecipeError` before `persona-rm infer` of the recipe, for an inferrer that asks no questions, and for a
    user who was erased, unless `readmit`.
    """
    inferrer = _fitted(run)
    url = store or f"sqlite:{run.folder / 'users.sqlite'}"
    with open_store(url, create=True) as known:
        states, dates = known.look([user])
        state = states.get(user)
        if (when := dates.get(user)) and not readmit:
            raise RecipeError(f"{user!r} was erased on {when}: --readmit asks them again")
    tally = inferrer.resume(state) if state else inferrer.empty()
    seed, examples = run.recipe.seed, examples_of(run)
    pairs = question_bank(examples, BANK, seed) if examples else []
    asker = QuestionChooser([*pairs, *portraits(space_of(run.recipe), BANK, seed)], inferrer.perception)
    reader = backends_of(run.recipe).need_reader("ask")
    return QuestionDesk(Interview(inferrer, asker, tally), reader, user, url, state.version if state else 0, readmit)


def _copy(tally: Tally) -> Tally:
    """A tally that later answers do not change."""
    return replace(tally, entries=dict(tally.entries), answers=dict(tally.answers))


def _fitted(run: RunFolder) -> ModelInferrer:
    """The inferrer that the infer stage of this run fitted."""
    folder, recipe = run.folder / FOLDER / FITTED, run.recipe
    if not folder.is_dir():
        raise RecipeError(f"no fitted inferrer in {folder}: persona-rm infer RECIPE makes it")
    given = (recipe.infer or InferConfig()).inferrer
    cls, _ = INFERRERS.member(given)
    loaded: Inferrer = cls.load(folder, space_of(recipe), backends_of(recipe))
    modelled = loaded.modelled()
    if modelled is None:
        raise RecipeError(f"questions are asked by the inferrer `posterior`; infer.inferrer is {loaded.name!r}")
    return modelled
