"""The sections about the run: PPO, two users, data, and how it was made."""

from collections.abc import Mapping, Sequence
from typing import Any

from persona_rm.io.text import shorten
from persona_rm.report import markup as html
from persona_rm.report import svg
from persona_rm.report.report_data import Json, PpoFigures, ReportData, Stat

MAX_ROWS = 26
ANSWER_LENGTH = 240
"""Characters of an answer in the table of two users."""
PPO = "a `ppo` section"
TWO_USERS = "Two users"
LEVELS = {"low": "low", "none": "cannot reflect", "high": "high"}


def curves(data: ReportData) -> str:
    """Reward during PPO, one panel per run, one line per user group."""
    runs = [run for run in data.ppo if run.curves]
    if not runs:
        return html.section("Reward during PPO", html.missing("no PPO run", PPO))
    values = [y for run in runs for points in run.curves.values() for _, y in points]
    groups = sorted({group for run in runs for group in run.curves})
    panels = "".join(_panel(run, groups, svg.padded(values)) for run in runs)
    words = "Mean reward of the answers drawn at each step, by group of users. All panels share one scale."
    return html.section("Reward during PPO", html.paragraph(words, "soft"), f'<div class="panels">{panels}</div>')


def _panel(run: PpoFigures, groups: Sequence[str], span: tuple[float, float]) -> str:
    lines = [
        svg.Line(group, *_columns(points), color=groups.index(group) % 8 + 1, dashed=run.control)
        for group, points in run.curves.items()
    ]
    chart = svg.line_chart(lines, x_name="step", y_name="reward", y_span=span, size=(370, 250))
    title = f"<h3>{html.escape(_run_name(run))}</h3>"
    return f'<div class="figure">{title}{svg.legend(lines)}{chart}</div>'


def _columns(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _run_name(run: PpoFigures) -> str:
    return run.name.replace("_", " ") + (" (control: rewards of other users)" if run.control else "")


def utility(data: ReportData) -> str:
    """The users' true utility of the answers, before and after PPO: it is known for simulated users only."""
    runs = [run for run in data.ppo if run.before and run.after and run.difference]
    title = "True utility of the answers"
    if not runs:
        return html.section(title, html.missing("no true utilities (they are known for simulated users only)", PPO))
    dots: list[svg.Dot] = []
    for run in runs:
        dots.append(svg.Dot(_run_name(run)))
        dots.append(_stat_dot("before", run.before, "hollow"))
        dots.append(_stat_dot("after", run.after, "control" if run.control else "main"))
    ends = [end for dot in dots if dot.value is not None for end in (dot.low, dot.high)]
    chart = svg.dot_chart(dots, svg.padded(ends), title="True utility before and after PPO, two standard errors")
    words = "On held-out prompts, as each user would value the answer. Bars are two standard errors."
    head: list[html.TableCell] = [
        "run",
        ("rise", "num"),
        ("standard error", "num"),
        ("in standard errors", "num"),
        ("answers", "num"),
        "goal",
        "",
    ]
    return html.section(
        title, html.paragraph(words, "soft"), html.figure(chart), html.table(head, [_rise(r) for r in runs])
    )


def _stat_dot(name: str, stat: Stat | None, kind: str) -> svg.Dot:
    stat = stat or Stat(0.0, 0.0, 0)
    note = f"{html.num(stat.mean, 2)[0]} ± {stat.se:.2f}"
    return svg.Dot(name, stat.mean, stat.mean - 2 * stat.se, stat.mean + 2 * stat.se, kind, note)


def _rise(run: PpoFigures) -> list[html.TableCell]:
    stat, gain = run.difference or Stat(0.0, 0.0, 0), run.gain or 0.0
    good = gain <= 3 if run.control else gain > 3
    goal = "at most 3" if run.control else "more than 3"
    outcome = "ok" if good else "miss"
    return [
        _run_name(run),
        html.num(stat.mean),
        html.num(stat.se),
        html.num(gain, 1),
        html.num(stat.n),
        goal,
        (outcome, outcome),
    ]


def two_users(data: ReportData) -> str:
    """Two users: what they prefer, what they are rewarded for, and the same answers scored for both."""
    if not data.two_users or len(data.two_users.get("users", ())) < 2:
        return html.section(TWO_USERS, html.missing("no two users to compare", "an `eval` section"))
    two = data.two_users["users"][:2]
    labels = [str(user.get("label", f"user {number}")) for number, user in enumerate(two, 1)]
    words = (
        "Left, what the user prefers (known, or inferred); right, what raises the reward computed for that user, "
        "measured from rewards alone. Blue: more of it; orange: less of it."
    )
    parts = [html.paragraph(words, "soft"), html.figure(_heat(data.two_users, two, labels))]
    answers = data.two_users.get("answers", ())
    if answers:
        head: list[html.TableCell] = ["the same answer", *((f"reward for {name}", "num") for name in labels)]
        rows = [
            [
                (shorten(str(a["text"]), ANSWER_LENGTH, keep_end=False), "text"),
                *(html.num(float(r), 2) for r in a["rewards"][:2]),
            ]
            for a in answers
        ]
        parts.append(html.table(head, rows))
    return html.section(TWO_USERS, *parts)


def _heat(source: Json, two: Sequence[Json], labels: Sequence[str]) -> str:
    names, (a, b) = source["dimensions"], two
    wanted = [i for i in range(len(names)) if a["directions"][i] or b["directions"][i]]
    wanted.sort(key=lambda i: (-a["directions"][i], b["directions"][i]))
    columns = [p[key] for p in two for key in ("directions", "rewarded_for")]
    rows = [(str(names[i]).split(" (")[0], [column[i] for column in columns]) for i in wanted[:MAX_ROWS]]
    return svg.heat_map(rows, ["prefers", "rewarded"] * 2, labels, "Preferences of two users and what is rewarded")


def before_after(data: ReportData) -> str:
    """Answers of the policy before and after PPO, with the user's true utility of them."""
    pairs = (data.two_users or {}).get("before_after", ())
    title = "Answers before and after"
    if not pairs:
        return html.section(title, html.missing("no answers", PPO))
    words = "Held-out users and prompts: first the two users above, then others, the largest changes first."
    return html.section(title, html.paragraph(words, "soft"), *(_before_after(pair) for pair in pairs))


def _before_after(pair: Json) -> str:
    prompt = f"<blockquote><b>{html.escape(pair['user'])}</b><br>{html.escape(pair['prompt'])}</blockquote>"
    sides = "".join(
        f'<div class="answer"><div class="meta"><span>{side}</span><span>true utility '
        f"{html.num(float(pair[f'utility_{side}']), 2)[0]}</span></div>{html.escape(pair[side])}</div>"
        for side in ("before", "after")
    )
    return f'{prompt}<div class="answers">{sides}</div>'


def card(data: ReportData) -> str:
    """The data card: rows that went in, rows that came out, and the reasons for those that were left out."""
    if not data.card:
        return html.section("Data", html.missing("no data card", "a `construct` section"))
    made_of = [f"{key} {data.card[key]}" for key in ("source", "annotator", "space", "seed") if key in data.card]
    counts: list[list[html.TableCell]] = [
        [_words(key), html.num(value)] for key, value in data.card.get("rows", {}).items()
    ]
    parts = [html.paragraph(", ".join(made_of), "soft"), html.table(["", ("rows", "num")], counts)]
    drops = []
    for what, reasons in data.card.get("drops", {}).items():
        drops += [(f"{what}: {reason}", int(rows)) for reason, rows in reasons.items()]
    if drops:
        parts += ["<h3>Left out, by reason</h3>", html.figure(svg.bars(drops, "Rows left out, by reason"))]
    if shares := data.card.get("levels", {}).get("shares"):
        rows = [(LEVELS.get(name, name), float(share)) for name, share in shares.items()]
        title = "Levels of all responses on all dimensions"
        parts += [f"<h3>{title}</h3>", html.figure(svg.bars(rows, title))]
    parts += [_facts(key, data.card[key]) for key in ("similarity", "examples") if data.card.get(key)]
    return html.section("Data", *parts)


def _facts(title: str, facts: Mapping[str, Any]) -> str:
    rows: list[list[html.TableCell]] = [
        [_words(k), (svg.number(float(v)), "num")] for k, v in facts.items() if isinstance(v, int | float)
    ]
    return html.details(f"More: {_words(title)}", html.table(["", ("", "num")], rows))


def _words(key: str) -> str:
    return key.replace("_", " ")


def made(data: ReportData) -> str:
    """The commands, the recipe, the stages and the versions."""
    commands = f"<h3>Commands</h3><pre>{html.escape(data.commands.strip())}</pre>"
    parts = [commands if data.commands else html.missing("no commands recorded", "its sections")]
    parts += [_stages(data.stages)] if data.stages else []
    if versions := data.info.get("versions"):
        parts += ["<h3>Versions</h3>", html.paragraph(", ".join(f"{k} {v}" for k, v in versions.items()), "soft")]
    if data.recipe:
        rows = [[key, value] for key, value in flatten(data.recipe)]
        parts.append(html.details("The resolved recipe", html.table(["key", "value"], rows)))
    return html.section("How this was made", *parts)


def _stages(stages: Sequence[Json]) -> str:
    rows: list[list[html.TableCell]] = [
        [str(s.get("name", "")), str(s.get("status", "")), html.num(float(s.get("seconds", 0)), 1)] for s in stages
    ]
    return "<h3>Stages</h3>" + html.table(["stage", "status", ("seconds", "num")], rows)


def flatten(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """A nested recipe as `a.b = c` rows, the form in which it is overridden."""
    rows: list[tuple[str, str]] = []
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            rows += flatten(value, f"{prefix}{key}.")
        else:
            rows.append((f"{prefix}{key}", str(value)))
    return rows
