"""The command line: `persona-rm VERB`. Each verb is a few lines over a function that Python can call too."""

from persona_rm.cli import init, doctor, jobs, rehearsals, users, list_users, profile, serve, explain, about  # isort: skip  # noqa: F401 - each adds its verbs, in this order
from persona_rm.cli.app import app

__all__ = ["app"]
