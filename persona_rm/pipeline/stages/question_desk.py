"""Somebody asked, for a recipe: the fitted inferrer, a bank of its built pairs, and the person's state in a store."""

from dataclasses import dataclass

from persona_rm.backends.base import LevelReader
from persona_rm.errors import RecipeError
from persona_rm.inferrers.ask import QuestionChooser, portraits, question_bank
from persona_rm.inferrers.posterior import PosteriorInferrer
from persona_rm.inferrers.questions import Interview
from persona_rm.pipeline.members import space_of
from persona_rm.pipeline.run import RunFolder
from persona_rm.pipeline.stages.infer import FITTED, FOLDER, backends_of
from persona_rm.pipeline.stages.train import examples_of
from persona_rm.profiles import open_store

BANK = 4000
"""Pairs to choose questions from."""


@dataclass
class QuestionDesk:
    """One person's interview, and where it is kept."""

    interview: Interview
    reader: LevelReader
    user: str
    store: str
    version: int = 0
    readmit: bool = False

    def save(self) -> None:
        """Put the person's state into the store."""
        self.version += 1
        with open_store(self.store) as store:
            state = self.interview.inferrer.state(self.user, self.interview.tally, self.version)
            store.put([state], readmit=self.readmit)


def interview_of(run: RunFolder, user: str, store: str = "", *, readmit: bool = False) -> QuestionDesk:
    """Ready to ask `user`, who may be known already. Raises `RecipeError` before `persona-rm infer` of the recipe, and
    for somebody who was erased, unless `readmit`."""
    folder = run.folder / FOLDER / FITTED
    if not folder.is_dir():
        raise RecipeError(f"no fitted inferrer in {folder}: persona-rm infer RECIPE makes it")
    inferrer = PosteriorInferrer.load(folder, space_of(run.recipe))
    url = store or f"sqlite:{run.folder / 'people.sqlite'}"
    with open_store(url) as known:
        state = known.get([user]).get(user)
        if (when := known.erased([user]).get(user)) and not readmit:
            raise RecipeError(f"{user!r} was erased on {when}: --readmit asks them again")
    tally = inferrer.resume(state) if state else inferrer.nobody()
    seed, examples = run.recipe.seed, examples_of(run)
    pairs = question_bank(examples, BANK, seed) if examples else []
    asker = QuestionChooser([*pairs, *portraits(space_of(run.recipe), BANK, seed)], inferrer.config.perception)
    reader = backends_of(run.recipe).need_reader("ask")
    return QuestionDesk(Interview(inferrer, asker, tally), reader, user, url, state.version if state else 0, readmit)
