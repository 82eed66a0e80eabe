"""Fixtures that every test may use, and one thread for each process that tests start."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib.resources import files
from pathlib import Path

import pytest

# Threads of torch that share a busy core wait for each other at every barrier, and models of tests gain nothing from
# them. OpenMP reads this when torch or numpy is loaded, so it stands before those imports; children inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from persona_rm.backends.vllm_engine import VllmConfig, VllmGenerator
from persona_rm.space import PreferenceSpace, load_space

ROOT = Path(__file__).resolve().parents[1]
os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
"""Ray workers and other processes of a test import `tests` and the package from this checkout."""
SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(autouse=True)
def threads_of_torch() -> Iterator[None]:
    """Torch's setting holds for the whole process: what a test's `threads` asked for ends with the test."""
    before = os.environ["OMP_NUM_THREADS"]
    yield
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(int(before))


@pytest.fixture(scope="session")
def space() -> PreferenceSpace:
    return load_space("alignx90")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    if not SHARED_DATA.is_dir():
        pytest.skip("real data is not beside the checkout (expected at ../shared/data)")
    return SHARED_DATA


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`tiny_model(seed, **config)`: the folder of a random Llama with a byte-level tokenizer."""
    made: dict[str, Path] = {}

    def make(seed: int = 0, **config: int) -> Path:
        key = f"{seed}-{sorted(config.items())}"
        if key not in made:
            made[key] = _save_tiny(tmp_path_factory.mktemp("tiny"), seed, config)
        return made[key]

    return make


SHARED = ("shared_ray", "engine")
"""Servers of the whole session."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the modules that use a shared server last, so that none holds memory while the trainers of other tests run.

    With two processes (`--dist loadfile`) each starts the servers that its modules use, so there are two at most.
    """
    uses: dict[str, int] = {}
    for item in items:
        asked = [place for place, name in enumerate(SHARED, 1) if name in getattr(item, "fixturenames", ())]
        uses[item.location[0]] = max([uses.get(item.location[0], 0), *asked])
    items.sort(key=lambda item: uses[item.location[0]])


@pytest.fixture(scope="session")
def shared_ray() -> Iterator[Mapping[str, str]]:
    """The session's Ray cluster, of 4 CPUs: the variables by which another process joins it. Tests keep apart by
    namespaces, and leave the cluster as they found it. A test that ends a cluster starts one of its own."""
    pytest.importorskip("ray")
    from tests.shared_ray import shared_cluster

    with shared_cluster() as access:
        yield access


@pytest.fixture(scope="module")
def cluster(shared_ray: Mapping[str, str]) -> Iterator[Mapping[str, str]]:
    """This process, and those it starts, are connected to the session's cluster until the end of the module."""
    from tests.shared_ray import joined

    with joined(shared_ray) as access:
        yield access


@pytest.fixture(scope="session")
def engine() -> Iterator[VllmGenerator]:
    """Real vLLM with the packaged model, for slow tests: one for the whole session."""
    pytest.importorskip("vllm")
    model = str(files("persona_rm") / "assets" / "simulator_lm")
    # Without chunks, as `engine_of` says: seeded samples of a long batch would end the engine of the whole session.
    small = {"dtype": "float32", "max_model_len": 4096, "gpu_memory_utilization": 0.2, "enable_chunked_prefill": False}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
        patch.setenv("VLLM_CPU_OMP_THREADS_BIND", "nobind")  # else vLLM takes every core, not OMP_NUM_THREADS
        patch.setenv("HF_HUB_OFFLINE", "1")
        made = VllmGenerator(VllmConfig(model=model, **small, enforce_eager=True))
        yield made
        made.close()


def _save_tiny(folder: Path, seed: int, config: dict[str, int]) -> Path:
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=340, special_tokens=["<pad>", "</s>"], initial_alphabet=alphabet)
    raw.train_from_iterator(
        ["Likes law. Dislikes law.\n\n***Task***\n\n***Response:***\n\nI like the law."] * 9, trainer
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="</s>", pad_token="<pad>")
    torch.manual_seed(seed)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    context = {"max_position_embeddings": 1024, "initializer_range": 0.2, "vocab_size": len(tokenizer)}
    ends = {"bos_token_id": None, "eos_token_id": 1, "pad_token_id": 0}
    LlamaForCausalLM(LlamaConfig(**{**sizes, **context, **ends, **config})).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
