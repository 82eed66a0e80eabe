import os
import subprocess
import sys

from persona_rm.hosts.common import ray_cluster as cluster


def test_only_processes_with_the_clusters_tag_are_ended():
    def sleeper(tag):
        return subprocess.Popen(
            [sys.executable, "-c", "import time; time.sleep(60)"], env={**os.environ, cluster.TAG: tag}
        )

    ours, others = sleeper("tag-of-a-test"), sleeper("another-tag")
    try:
        assert cluster.end_leftovers("tag-of-a-test") == [ours.pid]
        assert ours.wait(5) != 0
        assert others.poll() is None
    finally:
        for process in (ours, others):
            process.kill()
            process.wait()
