"""A config that asks for more than its weights hold is refused before memory is taken."""

import json
import shutil
import tracemalloc

import pytest

from persona_rm.backends.model_sizes import check_sizes
from persona_rm.backends.pretrained import from_folder
from persona_rm.errors import DataError


@pytest.fixture
def folder(tiny_model, tmp_path):
    return shutil.copytree(tiny_model(0), tmp_path / "model")


def edit(path, **keys):
    path.write_text(json.dumps({**json.loads(path.read_text()), **keys}))


def test_a_model_as_it_is_passes(folder):
    check_sizes(folder)


@pytest.mark.parametrize(
    "keys",
    [
        {"num_hidden_layers": 1_000_000},
        {"hidden_size": 10**9},
        {"vocab_size": 10**12},
        {"intermediate_size": 2**62},
        {"num_local_experts": 10**7},
        {"text_config": {"num_hidden_layers": 10**6}},
    ],
    ids=lambda keys: next(iter(keys)),
)
def test_a_config_that_asks_for_more_is_refused_without_memory(folder, keys):
    from transformers import AutoModelForCausalLM

    edit(folder / "config.json", **keys)
    tracemalloc.start()
    with pytest.raises(DataError, match=r"config\.json.*asks for .*config and weights are not of one model"):
        from_folder(AutoModelForCausalLM, folder)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 50 << 20


@pytest.mark.parametrize(
    "header", [b"\xff" * 8 + b"{}", (8).to_bytes(8, "little") + b"not json", (2).to_bytes(8, "little") + b"[]"]
)
def test_a_damaged_header_is_named(folder, header):
    (folder / "model.safetensors").write_bytes(header + b"x" * 100)
    with pytest.raises(DataError, match=r"model\.safetensors.*damaged: its header"):
        check_sizes(folder)
