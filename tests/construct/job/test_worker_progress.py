import io
import time

import pytest
from rich.console import Console

from persona_rm.construct.job import worker_progress as progress


def test_rows_of_all_workers_add_up(tmp_path):
    told = tmp_path / "_rows"
    with progress.shown("annotate", told, 10, Console(file=io.StringIO())):
        assert progress.done(told) == 0
        progress.tell(told, 4)
        progress.tell(told, 5)
        assert progress.done(told) == 9


def test_the_bar_follows_on_a_terminal_and_never_passes_the_total(tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "SECONDS", 0.01)
    told, screen = tmp_path / "_rows", io.StringIO()
    with progress.shown("annotate", told, 10, Console(file=screen, force_terminal=True, width=80)):
        progress.tell(told, 7)
        time.sleep(0.3)
        progress.tell(told, 7)
        time.sleep(0.3)
    assert "7/10" in screen.getvalue()
    assert "10/10" in screen.getvalue()
    assert "14/10" not in screen.getvalue()


def test_what_failed_inside_is_heard(tmp_path):
    with pytest.raises(ZeroDivisionError), progress.shown("annotate", tmp_path / "_rows", 10, Console(quiet=True)):
        _ = 1 / 0


def test_a_stage_that_is_done_again_starts_from_nothing(tmp_path):
    told = tmp_path / "_rows"
    progress.tell(told, 3)
    with progress.shown("annotate", told, 10, Console(quiet=True)):
        assert progress.done(told) == 0
