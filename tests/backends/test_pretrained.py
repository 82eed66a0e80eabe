"""Code beside the weights of a model is never run, whichever part of the library loads the model."""

import json
import shutil
import sys
from types import ModuleType, SimpleNamespace

import pytest

from persona_rm.backends.generate import answers
from persona_rm.backends.logprob.transformers_logprob import TransformersLogProb
from persona_rm.backends.logprob.vllm_logprob import VllmLogProb
from persona_rm.backends.pretrained import from_folder
from persona_rm.backends.tokens import load_tokenizer
from persona_rm.backends.vllm_engine import VllmConfig, VllmGenerator, start_engine
from persona_rm.errors import DataError, RecipeError
from persona_rm.pipeline.members import model_folder

CODE = """
from pathlib import Path
Path({marker!r}).touch()
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
class OwnConfig(LlamaConfig):
    model_type = "own"
class OwnModel(LlamaForCausalLM):
    config_class = OwnConfig
class OwnTokenizer(PreTrainedTokenizerFast):
    pass
"""
REFUSED = r"(brings|needs) Python code .*never run"


@pytest.fixture
def marker(tmp_path):
    """A file that the code of `folder` makes."""
    return tmp_path / "the code ran"


@pytest.fixture
def folder(tiny_model, tmp_path, marker):
    """A model of a type that transformers does not know, with the code that defines it."""
    folder = tmp_path / "model"
    shutil.copytree(tiny_model(0), folder)
    (folder / "own.py").write_text(CODE.format(marker=str(marker)))
    classes = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"}
    edit(folder / "config.json", model_type="own", architectures=["OwnModel"], auto_map=classes)
    tokens = {"AutoTokenizer": [None, "own.OwnTokenizer"]}
    edit(folder / "tokenizer_config.json", tokenizer_class="OwnTokenizer", auto_map=tokens)
    return folder


def edit(path, **keys):
    path.write_text(json.dumps({**json.loads(path.read_text()), **keys}))


@pytest.mark.parametrize(
    "load",
    [
        lambda folder: TransformersLogProb(folder, device="cpu")._models,
        lambda folder: TransformersLogProb(folder, device="cpu")._tokenizer,
        lambda folder: VllmLogProb(folder)._tokenizer,
        load_tokenizer,
        lambda folder: answers(folder, ["a"], max_new_tokens=1, seed=0),
    ],
    ids=["model", "tokenizer", "vllm tokenizer", "host tokenizer", "answers"],
)
def test_a_model_that_needs_its_own_code_is_refused(folder, marker, load):
    with pytest.raises(RecipeError, match=REFUSED):
        load(folder)
    assert not marker.exists()


@pytest.mark.parametrize("kept", ["config.json", "tokenizer_config.json"])
def test_a_recipe_does_not_hand_such_a_model_to_the_host(folder, marker, kept):
    other = {"config.json": "tokenizer_config.json", "tokenizer_config.json": "config.json"}[kept]
    edit(folder / other, auto_map={})
    with pytest.raises(RecipeError, match=r"brings Python code \(own\.py\), which is never run\. Remove them"):
        model_folder(str(folder))
    (folder / "own.py").unlink()
    with pytest.raises(RecipeError, match="needs Python code of its own"):
        model_folder(str(folder))
    edit(folder / kept, auto_map={})
    assert model_folder(str(folder)) == folder.resolve()
    assert not marker.exists()


def test_the_code_of_this_folder_would_run(folder, marker):
    """The folder is dangerous: otherwise the tests above would show nothing."""
    from transformers import AutoConfig

    AutoConfig.from_pretrained(folder, trust_remote_code=True)
    assert marker.exists()


def test_a_known_architecture_is_loaded_by_transformers_once_its_code_is_removed(folder, marker):
    from transformers import AutoModelForCausalLM

    edit(folder / "config.json", model_type="llama")
    with pytest.raises(RecipeError, match=REFUSED):
        from_folder(AutoModelForCausalLM, folder)
    (folder / "own.py").unlink()
    made = from_folder(AutoModelForCausalLM, folder)
    assert type(made).__module__.startswith("transformers.")
    assert not marker.exists()


def test_another_problem_of_a_folder_is_told_as_it_is(folder):
    from transformers import AutoModelForCausalLM

    (folder / "own.py").unlink()
    edit(folder / "config.json", auto_map={})
    with pytest.raises(DataError, match=r"the model cannot be loaded: ValueError: .*not recognize this architecture"):
        from_folder(AutoModelForCausalLM, folder)


def test_the_refusal_of_vllm_is_ours(monkeypatch):
    def refuse(**given):
        assert given["trust_remote_code"] is False
        raise RuntimeError("Failed to load the model config; consider setting `trust_remote_code=True`")

    monkeypatch.setitem(sys.modules, "vllm", ModuleType("vllm"))
    sys.modules["vllm"].LLM = refuse
    monkeypatch.setitem(sys.modules, "vllm.platforms", ModuleType("vllm.platforms"))
    sys.modules["vllm.platforms"].current_platform = SimpleNamespace(is_cpu=lambda: False)
    with pytest.raises(RecipeError, match=REFUSED):
        start_engine(VllmConfig(model="m"))


@pytest.mark.slow
def test_real_vllm_refuses_it(folder, marker, monkeypatch):
    pytest.importorskip("vllm")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    made = VllmGenerator(VllmConfig(model=str(folder), enforce_eager=True, gpu_memory_utilization=0.2))
    with pytest.raises(RecipeError, match=REFUSED):
        made.generate(["a"], max_tokens=1)
    assert not marker.exists()
