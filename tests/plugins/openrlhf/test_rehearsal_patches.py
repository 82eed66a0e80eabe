import json
import os
import subprocess
import sys
from importlib.metadata import version

import pytest

from persona_rm.hosts.common import where
from persona_rm.hosts.openrlhf import SUPPORTED

FOLDER = where("openrlhf", "rehearsal")


def run(code, *path, **environ):
    """A fresh interpreter with the rehearsal first on its path."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (FOLDER, *path))), **environ}
    return subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120, check=False
    )


def fake(tmp_path, found):
    """A package openrlhf of some version."""
    (tmp_path / "openrlhf").mkdir()
    (tmp_path / "openrlhf" / "__init__.py").write_text("NAME = 'fake'\n")
    info = tmp_path / f"openrlhf-{found}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: openrlhf\nVersion: {found}\n")
    return tmp_path


def test_launcher_and_patches_support_the_same_versions():
    done = run("from cpu_rehearsal.versions import SUPPORTED; print(SUPPORTED)")
    assert done.stdout.strip() == str(SUPPORTED)


@pytest.mark.parametrize("found", ["0.11.1", "0.12.0"])
def test_another_version_of_the_host_is_refused_when_it_is_imported(tmp_path, found):
    done = run("import openrlhf", fake(tmp_path, found))
    assert done.returncode != 0
    assert f"patches functions of openrlhf 0.11.2; found {found}" in done.stderr
    assert "pip install" in done.stderr


def test_the_supported_version_is_imported(tmp_path):
    done = run("import openrlhf; print(openrlhf.NAME)", fake(tmp_path, "0.11.2"))
    assert (done.stdout, done.returncode) == ("fake\n", 0)


def test_a_program_without_the_host_pays_nothing():
    done = run("import sys; print([m for m in ('torch', 'openrlhf', 'vllm', 'einops') if m in sys.modules])")
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_a_sitecustomize_further_down_the_path_still_runs(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("print('the other one')\n")
    done = run("print('main')", tmp_path)
    assert done.stdout == "the other one\nmain\n"


def test_a_broken_sitecustomize_of_others_is_not_hidden(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("raise RuntimeError('theirs')\n")
    assert "theirs" in run("print('main')", tmp_path).stderr


def test_a_host_that_is_not_installed_stays_missing(tmp_path):
    code = (
        "import sys; sys.path = [p for p in sys.path if 'site-packages' not in p and not p.endswith('-packages')]\n"
        "try:\n    import openrlhf\nexcept ModuleNotFoundError as error:\n    print(error)"
    )
    assert run(code).stdout == "No module named 'openrlhf'\n"


def test_a_real_flash_attn_wins_over_the_stub(tmp_path):
    (tmp_path / "flash_attn").mkdir()
    (tmp_path / "flash_attn" / "__init__.py").write_text("REAL = True\n")
    done = run("import flash_attn; print(flash_attn.REAL)", tmp_path)
    assert done.stdout == "True\n"


def test_the_stub_says_what_is_missing_when_it_is_called():
    code = "from flash_attn.bert_padding import unpad_input; unpad_input(1)"
    done = run(code)
    if "einops" in done.stderr and "ModuleNotFoundError" in done.stderr:
        pytest.skip("einops, which the host needs, is not installed")
    assert "packed samples need flash-attn" in done.stderr


def test_patched_modules_keep_their_own_loader_and_source(tmp_path):
    fake(tmp_path, "0.11.2")
    done = run("import inspect, openrlhf; print(inspect.getsource(openrlhf), openrlhf.__spec__.loader)", tmp_path)
    assert "NAME = 'fake'" in done.stdout
    assert "SourceFileLoader" in done.stdout


def test_torch_calls_that_the_host_makes_work_without_cuda():
    pytest.importorskip("torch")
    code = (
        "import torch; torch.cuda.set_device(0); torch.cuda.synchronize();"
        "d = torch.cuda.current_device(); print(torch.zeros(2).to(d).device, f'cuda:{d}', torch.cuda.is_available());"
        "names = ('current_device', 'set_device', 'synchronize', 'current_stream');"
        "print(len({id(getattr(torch.cuda, n)) for n in names}))"
    )
    done = run(code, CUDA_VISIBLE_DEVICES="")
    assert done.stdout == "cpu cuda:0 False\n4\n", done.stderr


PRODUCTS = """
import json, sys, torch
native = {native}
if native is not None:
    sys.path.append({folder!r})
    from cpu_rehearsal import bf16_products
    torch.ops.mkldnn._is_mkldnn_bf16_supported = lambda: native
    bf16_products.patch(torch)
from torch.nn.functional import linear, scaled_dot_product_attention
torch.manual_seed(0)
x, w, q = (torch.randn(*size).bfloat16().requires_grad_() for size in ((9, 64), (32, 64), (2, 2, 9, 16)))
y, z = linear(x, w), scaled_dot_product_attention(q, q, q, is_causal=True)
(y.float().square().sum() + z.float().square().sum()).backward()
wide = linear(x.detach().float(), w.detach().float())
found = dict(patched=linear.__module__, rounded=bool((y == wide.bfloat16()).all()))
found["dtypes"] = [str(t.dtype) for t in (y, z, x.grad, q.grad, wide)]
found["norms"] = [float(t.float().norm()) for t in (y, z, x.grad, w.grad, q.grad)]
print(json.dumps(found))
"""


def products(native):
    """What linear and attention give in bf16: torch's own (None), or patched for a CPU that has bf16 or has not."""
    pytest.importorskip("torch")
    code = PRODUCTS.format(native=native, folder=str(FOLDER))
    env = {**os.environ, "PYTHONPATH": "", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.slow
def test_a_cpu_without_bf16_multiplies_in_float32_and_rounds_to_bf16():
    ours, torch_own = products(native=False), products(native=None)
    assert ours["patched"] == "cpu_rehearsal.bf16_products"
    assert ours["dtypes"] == ["torch.bfloat16"] * 4 + ["torch.float32"]
    assert ours["rounded"]
    assert ours["norms"] == pytest.approx(torch_own["norms"], rel=1e-2)


@pytest.mark.slow
def test_a_cpu_with_bf16_keeps_its_own_products():
    assert products(native=True)["patched"] != "cpu_rehearsal.bf16_products"


PATCHED = """
import importlib, json
def module(name): return importlib.import_module(name)
comm, config = module("deepspeed.comm.torch"), module("openrlhf.utils.deepspeed.deepspeed_utils").get_train_ds_config
adam = {"type": "AdamW", "params": {"lr": 1.0}}
def optimizer(kind, offload):
    return config(offload=False, adam_offload=offload, stage=0, optim_config=kind).get("optimizer")
print(json.dumps({
    "from": [f.__module__ for f in (
        module("openrlhf.utils.distributed_util").stateless_init_process_group,
        module("openrlhf.trainer.ray.vllm_worker_wrap").WorkerWrap.update_weight, comm.build_shm_op, config)],
    "operator": comm.build_shm_op(),
    "optimizers": [optimizer(adam, False), optimizer(adam, True), optimizer({**adam, "type": "Muon"}, False),
        optimizer(None, False)]}))
"""


@pytest.mark.slow
def test_the_functions_that_are_patched_exist_in_the_installed_host():
    if version("openrlhf") not in SUPPORTED:
        pytest.skip("another version is installed")
    done = run(PATCHED, CUDA_VISIBLE_DEVICES="", DS_ACCELERATOR="cpu")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    names = ("weight_sync", "vllm_worker", "shm_comm", "torch_adam")
    assert found["from"] == [f"cpu_rehearsal.{name}" for name in names]
    assert found["operator"] is None
    adam, offloaded, muon, nothing = found["optimizers"]
    assert adam == {"type": "AdamW", "params": {"lr": 1.0, "torch_adam": True}}
    assert offloaded == {"type": "AdamW", "params": {"lr": 1.0}}
    assert (muon["params"], nothing) == ({"lr": 1.0}, None)
