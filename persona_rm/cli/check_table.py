"""What `check` and `bundle` print of a check: the verdict, the figures behind it, and the verdict's sentence."""

from typing import TYPE_CHECKING

from rich.box import SIMPLE
from rich.table import Column, Table

from persona_rm.cli.app import console
from persona_rm.io.text import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from persona_rm.benchmarks.figures import Figure
    from persona_rm.benchmarks.user_verdict import UserCheck


def print_check(result: "UserCheck", *, every: bool = False) -> None:
    """The verdict first and last, and between them the figures: those that decide, or `every` one."""
    from persona_rm.report.check_rows import deciding

    console.print(f"\nVerdict: {result.verdict.answer}.", style="bold", highlight=False)
    if result.figures:
        console.print(_table(result, list(result.figures.values()) if every else deciding(result.figures)))
        console.print(
            f"{counted(result.n_users, 'user')} with {counted(result.n_pairs, 'held-out comparison')}. "
            f"95 % intervals: bootstrap over {result.drawn}. Compared with the pooled reward, the personal one is "
            f"right more often for {result.helped:.0%} of the users and less often for {result.hurt:.0%}.",
            highlight=False,
        )
    if result.no_history:
        console.print(
            f"Not used: {counted(result.no_history, 'comparison')} by users without a comparison under any other "
            "prompt, from which a state could be learned.",
            highlight=False,
        )
    if every:
        for name, reason in result.methods_left_out.items():
            console.print(f"{name} is left out: {reason}.", highlight=False)
        for k, reason in result.left_out.items():
            console.print(f"New users with {k} comparisons are left out: {reason}.", highlight=False)
    warn_of_chance(result)
    console.print(result.verdict.sentence, style="bold", highlight=False)


def warn_of_chance(result: "UserCheck") -> None:
    """Say aloud if the reward that `bundle` would write is not shown to be better than a coin."""
    from persona_rm.users.candidates import taken_by_auto

    figure = taken_by_auto(result).figure
    if figure is not None and figure.low <= 0.5:
        console.print(
            f"warning: the reward that `bundle` takes is not shown to beat chance: it is right on {interval(figure)} "
            "of the held-out comparisons, and a coin is right on 0.5.",
            style="yellow",
            highlight=False,
        )


def interval(figure: "Figure", sign: str = "") -> str:
    """A figure with its interval: `0.580 [0.471, 0.688]`."""
    return f"{figure.value:{sign}.3f} [{figure.low:{sign}.3f}, {figure.high:{sign}.3f}]"


def _table(result: "UserCheck", figures: "Sequence[Figure]") -> Table:
    from persona_rm.report.check_rows import is_difference, label_of

    table = Table(
        "accuracy on held-out comparisons", Column("95 % interval", justify="right", no_wrap=True),
        Column("n", justify="right"), Column("mean of the worst\ntenth of users", justify="right"), box=SIMPLE,
    )  # fmt: skip
    for figure in figures:
        worst = "" if figure.name not in result.worst_tenth else f"{result.worst_tenth[figure.name]:.3f}"
        sign = "+" if is_difference(figure) else ""
        table.add_row(label_of(figure.name), interval(figure, sign), f"{figure.n:,}", worst)
    return table
