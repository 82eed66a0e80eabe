"""Fixtures that every test may use."""

from pathlib import Path

import pytest

from persona_rm.space import PreferenceSpace, load_space

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def space() -> PreferenceSpace:
    return load_space("alignx90")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    if not SHARED.is_dir():
        pytest.skip(f"real data is not beside the checkout ({SHARED.name}/ expected at ../shared/data)")
    return SHARED
