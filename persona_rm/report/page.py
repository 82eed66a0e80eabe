"""The page: one HTML file without any outside reference, a pure function of its data."""

from importlib.resources import files
from pathlib import Path

from persona_rm import __version__
from persona_rm.report import inference_section as inference
from persona_rm.report import markup as html
from persona_rm.report import sections, sections_run, users_section
from persona_rm.report.report_data import ReportData

ORDER = (
    sections.header,
    sections.headline,
    sections.shortfalls,
    sections.accuracy,
    sections.history,
    inference.inferred,
    sections_run.curves,
    sections_run.utility,
    users_section.users,
    sections_run.two_users,
    sections_run.before_after,
    sections_run.card,
    sections_run.made,
)


def render(data: ReportData) -> str:
    """The whole page as text."""
    css = files("persona_rm.report").joinpath("page.css").read_text(encoding="utf-8")
    body = "\n".join(part(data) for part in ORDER)
    head = (
        f'<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="color-scheme" content="light dark"><meta name="generator" content="persona_rm {__version__}">'
        f"<title>{html.escape(data.title)}</title><style>{css}</style>"
    )
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body><main>{body}</main></body></html>\n'


def write_report(path: Path, data: ReportData) -> Path:
    """Write the page and return where it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render(data), encoding="utf-8")
    return path
