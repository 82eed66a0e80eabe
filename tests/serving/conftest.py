"""A Ray cluster and a pool's bundle, for the tests that need them."""

import pytest


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A cluster that ends with this module."""
    pytest.importorskip("ray")
    from persona_rm.construct.job import local_ray
    from tests.serving.pool.pool_samples import CPUS

    with local_ray(num_cpus=CPUS, num_gpus=0, _temp_dir=str(tmp_path_factory.mktemp("r"))):
        yield


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, space):
    from tests.serving.pool.pool_samples import toy_bundle

    return toy_bundle(tmp_path_factory.mktemp("b") / "bundle", space)


@pytest.fixture(scope="module")
def asked(bundle, space):
    from tests.serving.pool.pool_samples import questions

    return questions(bundle, space)
