"""The figures of one method: its accuracy, then the controls that it declares. Every method is measured alike.

What a method reads decides what it is told. A method that reads directions is told the known ones and those that an
inferrer reads in the evidence; a method that reads items is shown the items; a method that reads nothing is scored
once and stands for the impersonal rewards that a personal one must beat.
"""

from collections.abc import Callable, Sequence

from persona_rm.benchmarks.base import Case
from persona_rm.benchmarks.controls import PriorOnly, shuffled_personas, truncate_history, without_golden
from persona_rm.benchmarks.evaluation import Evaluation
from persona_rm.inferrers.base import Inferrer
from persona_rm.methods.base import Method
from persona_rm.recipe import EvalConfig

HISTORY_CASES = 500
"""History sizes are compared on at most this many cases: long prompts are slow on a CPU."""

MakeMethod = Callable[..., Method]
"""Makes the method of a section; keywords change its settings."""


class MethodFigures:
    """Measures one method after another on the same cases, into `sheet`.

    `truth` says that the known directions of the cases are the hidden ones of a simulator. Their results are called
    "golden"; directions that a data set's publishers inferred are called "given".
    """

    def __init__(
        self, sheet: Evaluation, config: EvalConfig, cases: Sequence[Case], infer: Inferrer, truth: bool, seed: int
    ) -> None:
        self.sheet, self.config, self.cases, self.infer, self.seed = sheet, config, list(cases), infer, seed
        self.known = "golden" if truth else "given"
        self.all_known = all(case.example.persona.directions is not None for case in cases)
        # Inferred once, because all methods are told the same directions.
        self.inferred = [inferred(shortened(case, config.items), infer) for case in cases]
        self.leader = ""
        """The result that impersonal methods are held against: that of the first section that reads directions."""

    def measure(self, name: str, make: MakeMethod, *, may_lead: bool) -> None:
        """All figures of one method under its section's name.

        The first section that reads directions leads, if it `may_lead`: its controls are those of the whole run
        (`control_shuffled`, `control_no_persona`), and its gaps carry no name of a section.
        """
        method = make()
        if method.reads == "directions":
            self._with_directions(name, method, make, leads=may_lead and not self.leader)
        elif method.reads == "items":
            self._with_items(name, method, make)
        else:
            self.sheet.accuracy(name, method, self.cases)
            if self.leader in self.sheet.figures:
                self.sheet.gap(f"gap_{self.known}_minus_{name}", self.leader, name)

    def _with_directions(self, name: str, method: Method, make: MakeMethod, *, leads: bool) -> None:
        sheet, known, told = self.sheet, f"{name}_{self.known}", f"{name}_vote"
        prefix = "control" if leads else name
        if leads:
            self.leader = known
        if self.all_known:
            sheet.accuracy(known, method, self.cases)
            if "flip" in method.controls:
                sheet.flip(f"{known}_flip", known, method)
            if "shuffled" in method.controls:
                sheet.accuracy(f"{prefix}_shuffled", method, shuffled_personas(self.cases, self.seed))
            self._variants(known, method, make, self.cases)
        if "no_user" in method.controls:
            sheet.accuracy("control_no_persona" if leads else f"{name}_no_user", PriorOnly(method), self.cases)
        sheet.accuracy(told, method, self.inferred)
        self._history(told, method, lambda case: inferred(case, self.infer))
        if self.all_known:
            between = "gap" if leads else f"gap_{name}"
            sheet.gap(f"{between}_{self.known}_minus_vote", known, told)

    def _with_items(self, name: str, method: Method, make: MakeMethod) -> None:
        """The evidence carries no directions here, because the known ones would give away what the items say."""
        if settings := method.settings_for(max(self.config.items, *self.config.history)):
            method = make(**settings)
        cases = [without_golden(shortened(case, self.config.items)) for case in self.cases]
        self.sheet.accuracy(name, method, cases)
        if "flip" in method.controls:
            self.sheet.flip(f"{name}_flip", name, method)
        if "shuffled" in method.controls:
            self.sheet.accuracy(f"{name}_shuffled", method, shuffled_personas(cases, self.seed))
        self._variants(name, method, make, cases)
        if "no_user" in method.controls:
            self.sheet.accuracy(f"{name}_no_user", PriorOnly(method), cases)
        self._history(name, method, without_golden)

    def _variants(self, name: str, method: Method, make: MakeMethod, cases: Sequence[Case]) -> None:
        """Accuracy under each of the method's other settings."""
        for suffix, settings in method.variants.items():
            self.sheet.accuracy(f"{name}_{suffix}", make(**settings), cases)

    def _history(self, name: str, method: Method, prepare: Callable[[Case], Case]) -> None:
        """Accuracy by history size, for the sizes that every case has; `config.items` items were scored before."""
        for n in self.config.history if "history" in method.controls else ():
            if not all(_has(case, n) for case in self.cases):
                continue
            some = [prepare(truncate_history(case, n)) for case in self.cases[:HISTORY_CASES]]
            # These cases were scored already, so their rewards are taken from there.
            if n == self.config.items:
                self.sheet.given(f"{name}_h{n}", some, self.sheet.rewards[name].values[:HISTORY_CASES])
            else:
                self.sheet.accuracy(f"{name}_h{n}", method, some)


def inferred(case: Case, infer: Inferrer) -> Case:
    """The case with the directions that an inferrer reads in the evidence, in place of the known ones."""
    persona = without_golden(case).example.persona
    return case.with_persona(persona.with_directions(infer.infer(persona).directions))


def shortened(case: Case, n: int) -> Case:
    """The case with `n` items; one with fewer stays as it is (P-SOUPS has 4 pairs and nothing else)."""
    return truncate_history(case, n) if _has(case, n) else case


def _has(case: Case, n: int) -> bool:
    persona = case.example.persona
    return len(persona.ugc) >= n // 2 and len(persona.pairs) >= n - n // 2
