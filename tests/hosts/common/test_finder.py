import pytest

from persona_rm.errors import HostError
from persona_rm.hosts.common import hosts, where


def test_the_checkout_has_every_part():
    assert where("openrlhf").name == "reward_func.py"
    assert where("openrlhf", "agent").name == "agent_func.py"
    assert (where("openrlhf", "rehearsal") / "sitecustomize.py").is_file()
    assert "openrlhf" in hosts()


def _plant(root):
    (root / "openrlhf").mkdir(parents=True)
    (root / "openrlhf" / "reward_func.py").write_text("")
    return root / "openrlhf" / "reward_func.py"


def test_a_wheel_finds_its_own_copy_and_a_checkout_wins_over_it(tmp_path):
    package = tmp_path / "persona_rm"
    inside = _plant(package / "_plugins")
    assert where("openrlhf", package=package) == inside
    outside = _plant(tmp_path / "plugins")
    assert where("openrlhf", package=package) == outside


def test_a_miss_lists_what_exists(tmp_path):
    _plant(tmp_path / "plugins")
    with pytest.raises(HostError, match=r"no reward plugin for host 'trlx'; hosts with plugins: openrlhf"):
        where("trlx", package=tmp_path / "persona_rm")
    with pytest.raises(HostError, match="installed without its plugins"):
        where("openrlhf", package=tmp_path / "elsewhere" / "persona_rm")
