from pathlib import Path

import pytest

from persona_rm.serving.__main__ import main, parse


def test_start_says_what_each_actor_takes():
    args = parse(["--namespace", "team", "start", "b", "--actors", "2", "--gpus", "0.25"])
    assert (args.verb, args.bundle, args.actors, args.cpus, args.gpus) == ("start", Path("b"), 2, 1, 0.25)
    assert (args.namespace, args.inference) == ("team", None)
    assert parse(["start", "b", "--inference"]).inference is True


def test_start_says_the_bounds_of_the_pool():
    args = parse(["start", "b", "--actors", "2", "--max-actors", "4", "--stuck-after", "30"])
    assert (args.min_actors, args.max_actors, args.stuck_after) == (None, 4, 30)


@pytest.mark.parametrize(
    "argv", [[], ["start"], ["restart"], ["start", "b", "--actors", "two"], ["start", "b", "--max-actors"]]
)
def test_a_wrong_command_line_is_refused(argv, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(argv)
    assert stopped.value.code == 2
    assert "usage: python -m persona_rm.serving" in capsys.readouterr().err


def test_without_a_cluster_it_says_so(monkeypatch, capsys):
    ray = pytest.importorskip("ray")

    def nothing(**_kwargs):
        raise ConnectionError("Could not find any running Ray instance")

    monkeypatch.setattr(ray, "init", nothing)
    assert main(["info"]) == 1
    assert "error: Could not find any running Ray instance" in capsys.readouterr().err
