"""Whatever the thread: every post and response is in the output or in one drop, and says why."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from persona_rm.construct.cleaning import CleanConfig, Cleaned, Cleaner
from persona_rm.construct.cleaning.pii import leaks
from persona_rm.errors import DataError
from persona_rm.types import Comment, Drop, Thread

SALT = b"a salt for tests"
LONG = "a long enough response"


def thread(*texts, prompt="What do you think?", author=None, authors=()):
    writers = [*authors, *[None] * len(texts)]
    comments = [Comment(f"t/{i}", text, writers[i]) for i, text in enumerate(texts)]
    return Thread("t", "test", prompt, tuple(comments), author)


def clean(post, **config):
    return Cleaner(CleanConfig(**config), SALT).clean(post)


def reasons(cleaned):
    return sorted((drop.what, drop.reason) for drop in cleaned.drops)


def test_good_responses_stay():
    good = thread(LONG, "another long enough one")
    assert clean(good) == Cleaned(good, [], Counter())


@pytest.mark.parametrize("prompt", ["", "  \n", "[deleted]", " [Removed] ", "[deleted by user]"])
def test_an_empty_post_drops_its_responses(prompt):
    found = clean(thread(LONG, "x", prompt=prompt))
    assert found.thread is None
    assert reasons(found) == [("post", "empty post")] + [("response", "under an empty post")] * 2


@pytest.mark.parametrize(
    ("post", "config", "reason"),
    [
        (thread(LONG, prompt="x" * 101), {"max_post_chars": 100}, "post too long"),
        (thread(LONG, author="AutoModerator"), {}, "post by a bot"),
        (thread(LONG, prompt="I am a bot, and this action was performed automatically"), {}, "post by a bot"),
        (
            thread(LONG, prompt="Ich habe keine Ahnung, was du damit meinst, aber es klingt gut und richtig"),
            {"languages": ("en",)},
            "post in another language",
        ),
    ],
)
def test_a_dropped_post_says_why(post, config, reason):
    found = clean(post, **config)
    assert found.thread is None
    assert reasons(found) == [("post", reason), ("response", "under a dropped post")]


@pytest.mark.parametrize(
    ("text", "author", "reason"),
    [
        ("short", None, "too short"),
        ("", None, "too short"),
        (" " * 50, None, "too short"),
        ("x" * 4001, None, "too long"),
        ("[deleted]", None, "deleted or removed"),
        ("[removed]", None, "deleted or removed"),
        ("hello there, I help", "helper_bot", "written by a bot"),
        ("Removed. I am a bot, and this action was performed automatically.", None, "written by a bot"),
        ("A  LONG enough\nresponse", None, "duplicate in its thread"),
        ("bob@example.org", None, "too short"),
    ],
)
def test_a_dropped_response_says_why(text, author, reason):
    found = clean(thread(LONG, text, authors=[None, author]))
    assert [comment.id for comment in found.thread.comments] == ["t/0"]
    assert found.drops == [Drop("response", "t/1", reason)]


def test_another_language():
    german = "Ich habe keine Ahnung, was du damit meinst, aber es klingt gut und richtig"
    found = clean(thread(LONG, german), languages=("en",))
    assert found.drops == [Drop("response", "t/1", "in another language")]
    assert clean(thread(LONG, german)).drops == []


def test_the_blocklist(tmp_path):
    file = tmp_path / "list.txt"
    file.write_text("badword\n", encoding="utf-8")
    found = clean(thread(LONG, "here is a BADWORD in it"), blocklist=str(file))
    assert found.drops == [Drop("response", "t/1", "on the blocklist")]
    post = clean(thread(LONG, prompt="a badword"), blocklist=str(file))
    assert reasons(post) == [("post", "post on the blocklist"), ("response", "under a dropped post")]
    with pytest.raises(DataError, match="no such blocklist"):
        clean(thread(LONG), blocklist=str(tmp_path / "none"))


def test_a_thread_without_usable_responses():
    assert reasons(clean(thread())) == [("post", "empty thread")]
    found = clean(thread("no", "nope"))
    assert found.thread is None
    assert reasons(found) == [("post", "no usable response")] + [("response", "too short")] * 2


def test_identifiers_become_marks_in_posts_and_responses():
    found = clean(thread("write to bob@example.org please", "or call 212-555-0123 ok", prompt="Who is @bob_s?"))
    assert found.thread.prompt == "Who is [USER]?"
    assert [c.text for c in found.thread.comments] == ["write to [EMAIL] please", "or call [PHONE] ok"]
    assert found.marks == {"USER": 1, "EMAIL": 1, "PHONE": 1}
    assert clean(thread("write to bob@example.org please"), pii=False).marks == {}


def test_what_is_the_same_once_identifiers_are_gone_is_a_duplicate():
    found = clean(thread("write to bob@example.org please", "Write to eve@example.org please"))
    assert found.drops == [Drop("response", "t/1", "duplicate in its thread")]
    assert found.marks == {"EMAIL": 1}


def test_authors_become_salted_hashes():
    found = clean(
        thread(LONG, "another long one", "the third long one", author="bob", authors=["u/bob", "eve", "[deleted]"])
    )
    bob, eve, unnamed = (comment.author for comment in found.thread.comments)
    assert found.thread.author == bob != eve
    assert unnamed is None
    assert len(bob) == 16
    assert int(bob, 16) >= 0
    assert Cleaner(CleanConfig(), b"other").author("bob") != bob
    assert Cleaner(CleanConfig(), SALT).author(" /u/bob") == bob
    assert Cleaner(CleanConfig(), SALT * 10).author("bob") not in (None, bob)


def test_authors_may_stay_and_bots_are_nobody():
    cleaner = Cleaner(CleanConfig(hash_authors=False, bots=False), b"")
    assert cleaner.author("bob") == "bob"
    assert cleaner.author("AutoModerator") is None
    assert Cleaner(CleanConfig(bot_names=("Bob",)), SALT).author("bob") is None


def test_hashing_needs_a_salt():
    with pytest.raises(DataError, match="needs a salt"):
        Cleaner(CleanConfig(), b"")


def test_bots_may_stay():
    assert clean(thread(LONG, authors=["JoeBot"]), bots=False).drops == []


def test_a_huge_comment_is_measured_and_not_searched(monkeypatch):
    def never(*_):
        raise AssertionError("a comment that is too long was searched")

    monkeypatch.setattr("persona_rm.construct.cleaning.cleaner.bot_text", never)
    monkeypatch.setattr("persona_rm.construct.cleaning.pii.scrub", never)
    found = Cleaner(CleanConfig(), SALT)._response(Comment("c", "a@" * 5_000_000), set(), Counter())
    assert found == Drop("response", "c", "too long")


def test_each_response_is_looked_at_once(monkeypatch):
    """Five thousand replies: one scrub per different text and one for the post, so no work is done in pairs."""
    from persona_rm.construct.cleaning import pii

    calls = []
    real = pii.scrub
    monkeypatch.setattr(pii, "scrub", lambda text: calls.append(text) or real(text))
    replies = [f"reply number {n % 2500} is a long one" for n in range(5000)]
    found = clean(thread(*replies))
    assert len(found.thread.comments) == 2500
    assert len(calls) == 2501
    assert Counter(drop.reason for drop in found.drops) == {"duplicate in its thread": 2500}


TEXTS = st.one_of(
    st.sampled_from(
        ["", "[deleted]", "[removed]", "short", LONG, LONG.upper(), "x" * 90, "mail bob@example.org today"]
    ),
    st.text(max_size=40),
)
AUTHORS = st.sampled_from([None, "bob", "eve", "[deleted]", "AutoModerator", "joe-bot", ""])


@given(
    prompt=st.one_of(st.just("What do you think?"), TEXTS),
    author=AUTHORS,
    rows=st.lists(st.tuples(TEXTS, AUTHORS), max_size=8),
    pii=st.booleans(),
    bots=st.booleans(),
    languages=st.sampled_from([(), ("en",)]),
)
@settings(max_examples=200, deadline=None)
def test_everything_goes_on_or_is_dropped_once(prompt, author, rows, pii, bots, languages):
    post = thread(*(text for text, _ in rows), prompt=prompt, author=author, authors=[writer for _, writer in rows])
    config = CleanConfig(pii=pii, bots=bots, languages=languages, max_chars=80, max_post_chars=80)
    found = Cleaner(config, SALT).clean(post)
    out = [comment.id for comment in found.thread.comments] if found.thread else []
    dropped = [drop.id for drop in found.drops if drop.what == "response"]
    assert sorted(out + dropped) == sorted(comment.id for comment in post.comments)
    assert [drop.id for drop in found.drops if drop.what == "post"] == ([] if found.thread else ["t"])
    assert all(drop.reason for drop in found.drops)
    assert out == [comment.id for comment in post.comments if comment.id in out]
    if found.thread and pii:
        assert all(leaks(text) == [] for text in (found.thread.prompt, *(c.text for c in found.thread.comments)))
    if found.thread:
        written = {found.thread.author, *(c.author for c in found.thread.comments)}
        assert written.isdisjoint({"bob", "eve", "AutoModerator", "[deleted]", ""})
    else:
        assert found.marks == {}
