"""Which users a bundle knows, without computing their states."""

from collections.abc import Sequence

from persona_rm.bundle.bundle import Bundle


def known_users(bundle: Bundle, users: Sequence[str]) -> set[str]:
    """Those of these users that the users file or the profile store of the bundle knows. An erased user is unknown."""
    distinct = list(dict.fromkeys(users))
    if bundle.store is None:
        return {user for user in distinct if user in bundle.users}
    stored, erased = bundle.store.get(distinct), bundle.store.erased(distinct)
    return {user for user in distinct if (user in bundle.users or user in stored) and user not in erased}
