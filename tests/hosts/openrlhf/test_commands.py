import pytest

from persona_rm.errors import HostError, RecipeError
from persona_rm.hosts.openrlhf import dpo_command, flags, ppo_command, require_host
from persona_rm.hosts.openrlhf.commands import SUPPORTED


def test_values_become_dotted_flags_in_their_order():
    args = {"train.batch_size": 8, "actor.adam.lr": 1e-3, "vllm.enforce_eager": True, "data.input_key": "prompt"}
    assert flags(args) == [
        "--train.batch_size", "8", "--actor.adam.lr", "0.001", "--vllm.enforce_eager", "--data.input_key", "prompt",
    ]  # fmt: skip


def test_false_and_none_are_left_out_and_zero_is_not():
    assert flags({"a.b": False, "c.d": None, "algo.kl.init_coef": 0}) == ["--algo.kl.init_coef", "0"]


def test_a_list_is_several_values():
    assert flags({"adam.betas": [0.9, 0.95]}) == ["--adam.betas", "0.9", "0.95"]


@pytest.mark.parametrize("key", ["--train.batch_size", "train batch", "", "train..x", "train.", 3])
def test_a_key_that_is_no_flag_is_refused(key):
    with pytest.raises(RecipeError, match="is not a flag"):
        flags({key: 1})


@pytest.mark.parametrize("value", [{"x": 1}, [True], [None], object()])
def test_a_value_that_no_flag_can_carry_is_refused(value):
    with pytest.raises(RecipeError, match="cannot be given to the host"):
        flags({"a.b": value})


def test_the_commands_run_the_unmodified_trainers():
    assert dpo_command({"a.b": 1})[1:] == ["-m", "openrlhf.cli.train_dpo", "--a.b", "1"]
    assert ppo_command({"a.b": 1})[1:] == ["-m", "openrlhf.cli.train_ppo_ray", "--a.b", "1"]


@pytest.mark.parametrize(
    ("found", "message"), [(None, "not installed"), ("0.12.0", r"openrlhf 0\.12\.0 is installed")]
)
def test_other_versions_of_the_host_are_refused_with_the_reason(monkeypatch, found, message):
    monkeypatch.setattr("persona_rm.hosts.openrlhf.commands.version", _version(found))
    with pytest.raises(HostError, match=message) as error:
        require_host()
    assert f"openrlhf=={SUPPORTED[-1]}" in str(error.value)


def test_a_supported_version_is_accepted(monkeypatch):
    monkeypatch.setattr("persona_rm.hosts.openrlhf.commands.version", _version("0.11.2"))
    assert require_host() == "0.11.2"


def _version(found):
    from importlib.metadata import PackageNotFoundError

    def version(name):
        assert name == "openrlhf"
        if found is None:
            raise PackageNotFoundError(name)
        return found

    return version
