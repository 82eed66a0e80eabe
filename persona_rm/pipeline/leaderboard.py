"""`persona-rm bench`: the methods of a recipe on its sets, and the leaderboard as Markdown, JSON and SVG."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from persona_rm.annotators import ANNOTATORS
from persona_rm.backends.base import Backends
from persona_rm.backends.minilm import MiniLM, MiniLMConfig
from persona_rm.benchmarks import BENCHMARKS
from persona_rm.benchmarks.bench_config import BenchConfig
from persona_rm.benchmarks.bench_figures import BenchRow, bench_rows
from persona_rm.benchmarks.bench_protocol import MethodRun, run_method
from persona_rm.benchmarks.figures import Figure
from persona_rm.errors import RecipeError
from persona_rm.recipe import Recipe
from persona_rm.report.svg import Dot, dot_chart
from persona_rm.space import load_space
from persona_rm.users.candidates import make_method

Board = dict[str, list[BenchRow]]
"""The rows of each set."""
COLUMNS = (
    "method", "k", "accuracy", "pooled", "personal minus pooled", "own minus shuffled", "without mispredicted",
    "log loss", "calibration", "helped", "hurt", "worst tenth", "minus reference", "fit s", "adapt ms", "bytes",
)  # fmt: skip
MEMORY = 1_000_000


def bench_config(recipe: Recipe) -> BenchConfig:
    """The section. Raises `RecipeError` if the recipe has none, or names a reference that is no method of it."""
    if recipe.bench is None:
        raise RecipeError("the recipe has no section `bench`: name `sets` and `methods` in it")
    config = recipe.bench
    if config.reference is not None and config.reference not in config.methods:
        there = ", ".join(config.methods)
        raise RecipeError(f"bench.reference: {config.reference!r} is no method of this section; there is: {there}")
    return config


def run_bench(recipe: Recipe, progress: Callable[[int, int], None] = lambda done, of: None) -> Board:
    """Fit and score every method on every set. Raises `DataError` and `RecipeError` naming the set or the method."""
    config, space = bench_config(recipe), load_space(recipe.space)
    folder = Path(config.cache) if config.cache else None
    encoder = MiniLM(MiniLMConfig(memory=MEMORY, folder=str(folder) if folder else None))
    cls, settings = ANNOTATORS.member(recipe.annotator or {"name": "encoder"})
    reader = cls(settings, space, Backends(encoder=encoder))
    backends = Backends(encoder=encoder, reader=reader, folder=folder)
    folds = config.protocol.draws * config.protocol.folds
    done, total = 0, len(config.sets) * len(config.methods) * folds

    def step() -> None:
        nonlocal done
        done += 1
        progress(done, total)

    board: Board = {}
    for name, given in config.sets.items():
        benchmark, its_config = BENCHMARKS.member(given, where=f"bench.sets.{name}")
        comparisons = benchmark(its_config, space).comparisons()
        runs: dict[str, MethodRun] = {}
        for method, member in config.methods.items():
            # The member is bound here, because a lambda would read it after the loop has moved on.
            def make(member: Mapping[str, object] = member):  # type: ignore[no-untyped-def]
                return make_method(member, space, backends)

            runs[method] = run_method(method, make, comparisons, config.protocol, step)
        reference = runs[config.reference] if config.reference else None
        board[name] = [row for run in runs.values() for row in bench_rows(run, reference, seed=recipe.seed)]
    return board


def write_board(board: Board, folder: Path) -> list[Path]:
    """Write bench.md, bench.json and bench.svg into the folder. Returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = {name: [row.to_dict() for row in each] for name, each in board.items()}
    files = {
        "bench.md": board_markdown(board),
        "bench.json": json.dumps(rows, indent=1) + "\n",
        "bench.svg": board_picture(board),
    }
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in files]


def board_markdown(board: Board) -> str:
    """A table per set, accuracies in %, differences in points with their 95 % intervals."""
    parts, head = [], f"| {' | '.join(COLUMNS)} |"
    for name, rows in board.items():
        drawn = rows[0].interval_by
        about = f"{rows[0].users} new users; 95 % intervals: bootstrap by {drawn}"
        lines = [_line(row) for row in rows]
        parts.append("\n".join([f"## {name}", "", f"{about}.", "", head, "|---" * len(COLUMNS) + "|", *lines]) + "\n")
    return "\n".join(parts)


def _line(row: BenchRow) -> str:
    figures = row.figures
    cells = (
        row.method, str(row.k), f"{100 * figures['accuracy'].value:.1f}", f"{100 * figures['pooled'].value:.1f}",
        _points(figures.get("gain")), _points(figures.get("own_minus_shuffled")),
        _points(figures.get("gain_without_mispredicted")), f"{figures['log_loss'].value:.3f}",
        f"{row.calibration_error:.3f}", f"{100 * row.helped:.0f} %", f"{100 * row.hurt:.0f} %",
        f"{100 * row.worst_tenth:.0f} ({100 * row.worst_tenth_pooled:.0f})", _points(figures.get("minus_reference")),
        f"{row.fit_seconds:.1f}", f"{row.adapt_ms:.1f}", f"{row.state_bytes:.0f}",
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def _points(figure: Figure | None) -> str:
    if figure is None:
        return "-"
    return f"{100 * figure.value:+.1f} [{100 * figure.low:+.1f}, {100 * figure.high:+.1f}]"


def board_picture(board: Board) -> str:
    """Personal minus pooled of every method for new users with the most comparisons, in points."""
    dots: list[Dot] = []
    for name, rows in board.items():
        dots.append(Dot(name))
        most = max(row.k for row in rows if isinstance(row.k, int))
        for row in rows:
            if row.k == most:
                gain = row.figures["gain"]
                low, value, high = (100 * one for one in (gain.low, gain.value, gain.high))
                dots.append(Dot(row.method, value, low, high, note=f"{value:+.1f}"))
    ends = [end for dot in dots if dot.value is not None for end in (dot.low, dot.high)]
    span = (min(-1.0, *ends), max(1.0, *ends))
    chart = dot_chart(dots, span, ((0.0, "pooled"),), "Personal minus pooled, points")
    style = (
        "<style>.grid{stroke:#ddd}.tick,text{font:12px sans-serif;fill:#333}line{stroke:#2b6cb0}circle{fill:#2b6cb0}"
        "</style>"
    )
    head, _, rest = chart.partition(">")
    return f'{head} xmlns="http://www.w3.org/2000/svg">{style}{rest}\n'
