"""A pool's bundle, for the tests that need one."""

import pytest


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, space):
    from tests.serving.pool.pool_samples import toy_bundle

    return toy_bundle(tmp_path_factory.mktemp("b") / "bundle", space)


@pytest.fixture(scope="module")
def asked(bundle, space):
    from tests.serving.pool.pool_samples import questions

    return questions(bundle, space)
