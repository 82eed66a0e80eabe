"""`python -m persona_rm.cli`."""

from persona_rm.cli import app

app()
