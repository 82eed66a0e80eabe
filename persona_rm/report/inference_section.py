"""The section about inferred preferences: their accuracy, their effect on the policy, and what questions add.

Only runs that evaluated inference have it. It shows the parts that were measured; `inference_data` lists them.
"""

from collections.abc import Sequence

from persona_rm.report import markup as html
from persona_rm.report import svg
from persona_rm.report.inference_data import AskingFigures, ErrorRate, Inferred, Interval, Measured, parse
from persona_rm.report.inference_tables import dimensions, heading, real, table12
from persona_rm.report.report_data import ReportData

TITLE = "Inferred preferences"
POPULATIONS = {
    "independent": "Preferences independent of each other",
    "clusters": "Users in clusters",
    "conflict": "Two camps",
    "low_rank": "Preferences made of a few hidden numbers",
    "plural": "Two tastes in each user, by topic",
    "drift": "Users who change their minds",
}
INFORMED = "expected information"
COLORS = {"posterior": 1, "vote": 2, "posterior, after": 1, "posterior, before": 3, INFORMED: 1, "random": 2}
SOURCES = {"ugc": "in what users wrote", "pair": "in what users chose"}
CHANCE = (0.5, "chance")


def inferred(data: ReportData) -> str:
    """The whole section; empty in a run without that part."""
    if data.inference is None:
        return ""
    results = parse(data.inference)
    parts = [table12(results, data), dimensions(results), squares(results), by_items(results, data), asking(results)]
    parts += [alignment(results), memory(results), tastes(results), prior(results), real(results)]
    if not any(parts):
        return html.section(TITLE, html.missing("nothing was inferred", "an `inference` section"))
    return html.section(TITLE, lead(results), *parts)


def fell_short(data: ReportData) -> str:
    """A shortfall that no figure has: questions that told less than observed items, in the population of the goal."""
    results = parse(data.inference) if data.inference is not None else Inferred()
    for seen in results.observed[:1]:
        rows = [row for row in results.asking if row.population == seen.population and row.how == INFORMED]
        if rows and matched(rows, seen.accuracy[0]) is None:
            most = max(rows, key=lambda row: row.questions)
            told = f"{most.accuracy[0]:.3f} against {seen.accuracy[0]:.3f}"
            return f"Asking: {most.questions} questions tell less than {seen.items} observed items, {told}."
    return ""


def lead(results: Inferred) -> str:
    """The result in words, and what it was learned from."""
    said = [_right(results)]
    if results.gap:
        closed, low, high = map(_percent, results.gap.closed)
        lost = f"{closed} ({low} to {high}) of the accuracy that the vote loses against the true directions"
        said.append(f"Told to the same policy, it wins back {lost}.")
    for seen in results.observed[:1]:
        n = matched(
            [r for r in results.asking if r.population == seen.population and r.how == INFORMED], seen.accuracy[0]
        )
        said.append(f"{n} chosen questions tell as much as {seen.items} observed items." if n is not None else "")
    words, facts = " ".join(filter(None, said)), _facts(results)
    return (html.paragraph(words, "lead") if words else "") + (html.paragraph(facts, "soft") if facts else "")


def _right(results: Inferred) -> str:
    rows = {(row.inferrer, row.label): (row.precision, row.recall) for row in results.table}
    own = _both(rows.get(("posterior", "positive")))
    if not own:
        return ""
    others = {"negative": ("posterior", "negative"), "the paper's vote": ("vote", "positive")}
    beside = [f"{name} {' and '.join(both)}" for name, key in others.items() if (both := _both(rows.get(key)))]
    items = f" from {results.about.items} items" if results.about.items else ""
    said = (
        f"Of the positive preferences that the posterior claims{items}, {own[0]} are right, and it finds {own[1]} of "
    )
    return f"{said}those that users hold" + (f" ({'; '.join(beside)})." if beside else ".")


def _both(row: tuple[Interval | None, Interval | None] | None) -> tuple[str, str] | None:
    return (_percent(row[0][0]), _percent(row[1][0])) if row and row[0] and row[1] else None


def _facts(results: Inferred) -> str:
    about, fit = results.about, results.about.fit
    facts = [f"{about.users:,} users" if about.users is not None else ""]
    facts.append(f"{about.items} items of each" if about.items is not None else "")
    facts.append(f"population: {_population(about.population).lower()}" if about.population else "")
    learned = [f"{key.replace('_', ' ')} {svg.number(v)}" for key, v in fit.items() if isinstance(v, int | float)]
    facts.append(f"fit of the posterior: {', '.join(learned)}" if learned else "")
    said = "; ".join(filter(None, facts))
    return f"{said[0].upper()}{said[1:]}." if said else ""


def _percent(share: float) -> str:
    return f"{100 * share:.0f}\N{NO-BREAK SPACE}%".replace("-", "\N{MINUS SIGN}")


def _population(kind: str) -> str:
    return POPULATIONS.get(kind, kind.replace("_", " "))


def squares(results: Inferred) -> str:
    """Two charts with a diagonal: probabilities against the share that was right, error rates against estimates."""
    panels = ([_reliability(results)] if results.calibration else []) + (
        [_errors(results.errors)] if results.errors else []
    )
    return f'<div class="panels level">{"".join(panels)}</div>' if panels else ""


def _reliability(results: Inferred) -> str:
    clouds = []
    for i, row in enumerate(results.calibration):
        points = [(p, right, float(n), f"{p:.3f} said, {right:.3f} right, n = {n:,}") for p, right, n in row.bins]
        name = f"{row.inferrer}: error {row.ece:.3f}"
        clouds.append(svg.Cloud(name, points, _color(row.inferrer, i), True, row.inferrer == "vote"))
    title = "Share that is right by the probability that was said"
    chart = svg.square(clouds, x_name="probability said", y_name="share right", span=(0, 1), title=title)
    words = "On the diagonal a probability means what it says. Areas: how many."
    return html.figure(
        heading("Are its probabilities right?"), html.paragraph(words, "meta"), svg.legend(clouds), chart
    )


def _errors(rows: Sequence[ErrorRate]) -> str:
    clouds = []
    for i, source in enumerate(dict.fromkeys(row.source for row in rows)):
        own = [row for row in rows if row.source == source]
        points = [(r.true, r.estimated, 0.0, f"{r.dimension}: {r.true:.3f}, estimated {r.estimated:.3f}") for r in own]
        clouds.append(svg.Cloud(SOURCES.get(source, source), points, i % 8 + 1))
    most = max(max(row.true, row.estimated) for row in rows) * 1.08 or 1.0
    title = "The annotator's rate of false claims: estimated against true"
    chart = svg.square(clouds, x_name="true rate", y_name="estimated", span=(0, most), title=title)
    words = "How often it claims what is not there, results without labels. A dot is a dimension."
    top = (heading("The annotator's errors"), html.paragraph(words, "meta"), svg.legend(clouds))
    return html.figure(*top, chart)


def _color(name: str, i: int) -> int:
    return COLORS.get(name, i % 8 + 1)


def by_items(results: Inferred, data: ReportData) -> str:
    """Accuracy against the number of items, one line per inferrer."""
    if not results.by_items:
        return ""
    lines = []
    for i, name in enumerate(dict.fromkeys(row.inferrer for row in results.by_items)):
        rows = sorted((row for row in results.by_items if row.inferrer == name), key=lambda row: row.n)
        lines.append(_line(name, [row.n for row in rows], [row.accuracy for row in rows], i))
    best = next((figure.value for figure in data.figures if figure.name == "linear_golden"), None)
    references = [CHANCE] if best is None else [CHANCE, (best, "golden directions")]
    chart = svg.line_chart(
        lines,
        x_name="items",
        y_name="accuracy",
        y_span=_span(lines, [y for y, _ in references]),
        x_ticks=sorted({row.n for row in results.by_items}),
        references=references,
    )
    words = "Share of held-out choices that directions alone order as the user did. Bands are 95 % intervals by user."
    top = heading("Accuracy by number of items") + html.paragraph(words, "soft")
    return top + html.figure(svg.legend(lines), chart)


def _line(name: str, xs: Sequence[float], intervals: Sequence[Interval], i: int) -> svg.Line:
    values, lows, highs = zip(*intervals, strict=True)
    return svg.Line(name, xs, values, lows, highs, _color(name, i))


def _span(lines: Sequence[svg.Line], more: Sequence[float] = ()) -> tuple[float, float]:
    low, high = svg.padded([*more, *(y for line in lines for y in (*line.lows, *line.highs))])
    return max(0.0, low), min(1.0, high)


def asking(results: Inferred) -> str:
    """Accuracy by number of questions, one panel per population, against the accuracy from observed items."""
    if not results.asking:
        return ""
    lines = {kind: _sessions(results, kind) for kind in dict.fromkeys(row.population for row in results.asking)}
    levels = [row.accuracy[0] for row in results.observed]
    span = _span([line for own in lines.values() for line in own], levels)
    panels = "".join(_asked(results, kind, own, span) for kind, own in lines.items())
    words = "New users, asked which of two answers they prefer and how much. All panels share one scale."
    return f'{heading("Asking")}{html.paragraph(words, "soft")}<div class="panels level">{panels}</div>'


def _sessions(results: Inferred, population: str) -> list[svg.Line]:
    lines = []
    for i, how in enumerate(dict.fromkeys(row.how for row in results.asking)):
        rows = sorted(
            (r for r in results.asking if (r.population, r.how) == (population, how)), key=lambda row: row.questions
        )
        if rows:
            lines.append(_line(how, [row.questions for row in rows], [row.accuracy for row in rows], i))
    return lines


def _asked(results: Inferred, population: str, lines: list[svg.Line], span: tuple[float, float]) -> str:
    seen = next((row for row in results.observed if row.population == population), None)
    level = [(seen.accuracy[0], "")] if seen else []
    key = [svg.Line(f"{seen.items} observed items", (), (), color=0, dashed=True)] if seen else []
    chart = svg.line_chart(
        lines, x_name="questions", y_name="accuracy", y_span=span, references=level, size=(370, 250)
    )
    said = ""
    if seen:
        rows = [row for row in results.asking if row.population == population]
        most = max(row.questions for row in rows)
        needs = ((line.label, matched([r for r in rows if r.how == line.label], seen.accuracy[0])) for line in lines)
        said = "; ".join(f"{how} {f'more than {most}' if n is None else n}" for how, n in needs)
        said = f"Questions that match {seen.items} observed items: {said}."
    words = html.paragraph(said, "meta") if said else ""
    return html.figure(heading(_population(population)), words, svg.legend([*lines, *key]), chart)


def matched(rows: Sequence[AskingFigures], goal: float) -> int | None:
    """The smallest number of questions whose accuracy reaches the goal; None if none does."""
    return min((row.questions for row in rows if row.accuracy[0] >= goal), default=None)


def alignment(results: Inferred) -> str:
    """The same policy on the same pairs, by the source of the directions in its prompt."""
    dots = [_dot(row) for row in results.alignment if row.kind == "best"]
    dots += [_dot(row) for row in sorted(results.alignment, key=lambda row: -row.value) if row.kind == "main"]
    controls = [_dot(row) for row in results.alignment if row.kind == "control"]
    dots += [svg.Dot("Controls"), *controls] if controls else []
    parts = []
    if gap := results.gap:
        closed, low, high = map(_percent, gap.closed)
        by = f"{gap.vote:.3f} by vote, {gap.posterior:.3f} by posterior, {gap.golden:.3f} golden"
        parts.append(html.paragraph(f"{by}: {closed} of the gap is closed ({low} to {high})."))
    if dots:
        # The axis begins below chance, so that the line of chance is inside the picture.
        least = min(0.4, *(row.low for row in results.alignment), 0.4)
        title = "Alignment accuracy of one policy, by the source of the directions"
        chart = svg.dot_chart(dots, (least, 1.0), [CHANCE], title, _gutter(dots))
        parts += [html.paragraph("The same policy on the same pairs, told different directions.", "soft")]
        parts += [html.figure(chart)]
    return heading("What it is worth: alignment accuracy") + "".join(parts) if parts else ""


def _dot(row: Measured) -> svg.Dot:
    return svg.Dot(row.name, row.value, row.low, row.high, row.kind, f"{row.value:.3f}   n = {row.n:,}")


def _gutter(dots: Sequence[svg.Dot]) -> int:
    longest = max(len(dot.label) for dot in dots if dot.value is not None)
    return min(max(svg.GUTTER, 20 + svg.LETTER * longest), 340)


def memory(results: Inferred) -> str:
    """One summary of all items against items that are recalled for each prompt."""
    words = (
        "One posterior over everything (semantic), or a few items recalled for each prompt (episodic); same policy."
    )
    return _compared("Memory", words, results.memory)


def tastes(results: Inferred) -> str:
    """One set of directions per user against two that take turns by prompt."""
    words = "One set of directions per user, or two that take turns by prompt. Share of held-out choices ordered."
    return _compared("Several tastes in one user", words, results.tastes)


def prior(results: Inferred) -> str:
    """Whether correlations between preferences help."""
    words = (
        "Latent classes let one preference speak for others; one class does not. From few items, on held-out choices."
    )
    return _compared("Do correlations help?", words, results.prior)


def _compared(title: str, words: str, rows: Sequence[Measured]) -> str:
    if not rows:
        return ""
    dots: list[svg.Dot] = []
    for population in dict.fromkeys(row.population for row in rows):
        dots += [svg.Dot(_population(population))] if population else []
        dots += [_dot(row) for row in rows if row.population == population]
    span = svg.padded([end for row in rows for end in (row.low, row.high)])
    chart = svg.dot_chart(dots, span, title=f"{title}: accuracy with 95 % intervals", gutter=_gutter(dots))
    return heading(title) + html.paragraph(words, "soft") + html.figure(chart)
