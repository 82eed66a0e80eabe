"""Which users a bundle knows, without computing their states."""

from collections.abc import Sequence

from persona_rm.bundle.bundle import Bundle
from persona_rm.profiles.tombstones import sha256_of


def known_users(bundle: Bundle, users: Sequence[str]) -> set[str]:
    """Those of these users that the profile store, the fitted states or the users file of the bundle knows.

    As for rewards, a state in the profile store counts first; a user without one who was erased there or from the
    fitted states is unknown.
    """
    distinct = list(dict.fromkeys(users))
    bundle.user_states.notice_erased()
    known = {user for user in distinct if user in bundle.users}
    if bundle.fitted is not None:
        known = (known | bundle.fitted.get(distinct).keys()) - bundle.fitted.erased(distinct).keys()
    if gone := bundle.tombstones.dates():
        known = {user for user in known if sha256_of(user) not in gone}
    if bundle.store is not None:
        states, dates = bundle.store.look(distinct)
        known = (known - dates.keys()) | states.keys()
    return known
