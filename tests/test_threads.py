"""Processes of tests do not multiply threads: several of them share the machine."""

import os
import subprocess
import sys

CODE = "import os, torch; print(os.environ['OMP_NUM_THREADS'], torch.get_num_threads())"


def test_this_process_and_those_that_it_starts_have_the_threads_that_the_environment_names():
    import torch

    named = os.environ["OMP_NUM_THREADS"]
    assert torch.get_num_threads() == int(named)
    assert subprocess.check_output([sys.executable, "-c", CODE], text=True).split() == [named, named]
