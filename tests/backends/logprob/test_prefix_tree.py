"""A tree of rows loses no row and no token, and shares what is worth it."""

from collections.abc import Iterator
from random import Random

import pytest

from persona_rm.backends.logprob.prefix_tree import MIN_SAVED, MIN_SHARED, PrefixNode, grow, worth
from persona_rm.backends.tokens import Encoded


def rows_of(*texts: tuple[str, str]) -> list[Encoded]:
    return [(tuple(map(ord, prompt + response)), len(prompt)) for prompt, response in texts]


def leaves(nodes: list[PrefixNode]) -> Iterator[PrefixNode]:
    for node in nodes:
        yield from leaves(node.children) if node.children else [node]


def check(rows: list[Encoded], nodes: list[PrefixNode], begin: int = 0) -> None:
    """Every node agrees with its rows up to its end, and lies inside their prompts and behind its parent."""
    for node in nodes:
        assert begin < node.end
        first = rows[node.rows[0]][0][: node.end]
        assert all(rows[i][0][: node.end] == first for i in node.rows)
        if node.children:
            assert all(node.end < rows[i][1] for i in node.rows)
            assert sorted(i for leaf in leaves(node.children) for i in leaf.rows) == sorted(node.rows)
        else:
            assert len(node.rows) == 1
            assert node.end == len(rows[node.rows[0]][0])
        check(rows, node.children, node.end)


@pytest.mark.parametrize("seed", range(20))
def test_every_row_is_one_leaf(seed: int) -> None:
    draw = Random(seed)
    made = set()
    while len(made) < 40:
        prompt = "".join("ab"[draw.random() < 0.02] for _ in range(draw.randint(1, 200)))
        made.add((prompt, "".join(draw.choices("ab", k=draw.randint(1, 5)))))
    rows = list(dict.fromkeys(rows_of(*made)))
    roots = grow(rows)
    check(rows, roots)
    assert sorted(i for leaf in leaves(roots) for i in leaf.rows) == list(range(len(rows)))
    assert any(root.children for root in roots)


def test_a_person_a_prompt_and_its_responses_are_three_levels() -> None:
    user = "p" * 100
    texts = [(f"{user}{topic * 40}?", answer) for topic in "xyz" for answer in ("a", "bb", "ccc")]
    (root,) = grow(rows_of(*texts))
    assert (root.end, len(root.children)) == (100, 3)
    assert [(node.end, len(node.children)) for node in root.children] == [(140, 3)] * 3


def test_the_last_prompt_token_is_never_shared() -> None:
    (root,) = grow(rows_of(("p" * 100, "same a"), ("p" * 100, "same b")))
    assert root.end == 99


def test_what_is_not_worth_it_is_not_shared() -> None:
    assert not worth(MIN_SHARED - 1, 1000)
    assert not worth(MIN_SAVED - 1, 2)
    assert worth(MIN_SAVED, 2)
    texts = [("p" * 30, "a"), ("p" * 30, "b")]
    assert [node.children for node in grow(rows_of(*texts))] == [[], []]
    texts += [("p" * 30, "c"), ("p" * 30, "d")]
    assert len(grow(rows_of(*texts))) == 1
    assert len(grow(rows_of(*texts), share=False)) == 4
    assert grow([]) == []


def test_a_prompt_that_grows_by_a_turn_does_not_recurse() -> None:
    turn = tuple(range(16))
    rows = [((*turn * n, 99, 98), 16 * n + 1) for n in range(1, 1200)]
    (root,) = grow(rows)
    depth, node = 0, root
    while node.children:
        depth, node = depth + 1, max(node.children, key=lambda child: len(child.rows))
    assert depth > 1000
