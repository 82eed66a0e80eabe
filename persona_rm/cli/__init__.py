"""The command line: `persona-rm VERB`. Each verb is a few lines over a function that Python can call too."""

# Each import adds its verbs, in this order.
# isort: off
from persona_rm.cli import init, doctor, jobs, rehearsals, users  # noqa: F401
from persona_rm.cli import check, bench, bundle_verb, score  # noqa: F401
from persona_rm.cli import list_users, profile, erase, serve, explain, dpo_data, about  # noqa: F401
from persona_rm.cli.app import app
# isort: on

__all__ = ["app"]
