"""The cache of states: the oldest leaves first, and no caller can fill the memory with long keys."""

from persona_rm.bundle.state_cache import StateCache


def test_the_oldest_leaves_first() -> None:
    cache: StateCache[int] = StateCache(2)
    for number, user in enumerate(["a", "b", "a", "c"]):
        cache.keep((user, ""), number)
    assert list(cache) == [("a", ""), ("c", "")]
    assert (cache.get(("a", "")), cache.get(("b", ""))) == (2, None)
    cache.drop(("a", ""))
    cache.drop(("nobody", ""))
    assert (len(cache), list(cache)) == (1, [("c", "")])


def test_the_characters_of_all_keys_are_bounded() -> None:
    cache: StateCache[int] = StateCache(4096, characters=100)
    for number in range(50):
        cache.keep((f"{number:03}", "p" * 27), number)
    assert list(cache) == [(f"{number:03}", "p" * 27) for number in (47, 48, 49)]
    cache.keep((None, "p" * 101), 1)
    assert len(cache) == 3, "a key above the bound is not kept, and drives nothing out"
    cache.keep(("x" * 100, ""), 2)
    assert list(cache) == [("x" * 100, "")]
