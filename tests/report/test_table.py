from io import StringIO

from rich.console import Console

from persona_rm.benchmarks.figures import Figure
from persona_rm.report import EMBEDDED_GOALS, figure_table


def shown(*args) -> str:
    console = Console(width=140, record=True, file=StringIO())
    console.print(figure_table(*args))
    return console.export_text()


def test_figures_goals_and_misses_are_printed():
    text = shown([Figure("ica", 0.6, 0.58, 0.62, 1500, failed=2), Figure("other", 0.1, 0.0, 0.2, 9)], EMBEDDED_GOALS)
    row = next(line for line in text.splitlines() if "ICA" in line)
    assert all(part in row for part in ("0.600", "0.580 to 0.620", "1,500", "2", "0.65 or more", "miss"))
    assert "other" in text


def test_empty_columns_are_left_out():
    text = shown([Figure("ica", 0.6, 0.58, 0.62, 1500)])
    assert "goal" not in text
    assert "failed" not in text
