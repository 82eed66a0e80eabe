"""`torch.cuda` calls that OpenRLHF makes on every machine.

Reason: deepspeed.py:97,614; ppo_actor.py:148,171,436,605,627; launcher.py:65,136; ppo_critic.py:83,268,291;
distributed_util.py:10; and replay_buffer.py:40, which formats `cuda:{torch.cuda.current_device()}`.
Without the patch: "Torch not compiled with CUDA enabled". On a machine with CUDA nothing is changed.
"""

from types import ModuleType


class CpuDevice(str):
    """A string that is "cpu" as a device and "0" in an f-string, where `cuda:0` names an unused device."""

    __slots__ = ()

    def __format__(self, spec: str) -> str:
        """The value inside `f"cuda:{device}"`."""
        return "0"


def patch(torch: ModuleType) -> None:
    """Replaces four functions. Each is a separate object, because torch._dynamo rejects one under two names."""
    if torch.version.cuda is not None and torch.cuda.is_available():
        return
    device = CpuDevice("cpu")
    torch.cuda.current_device = lambda: device
    torch.cuda.set_device = lambda device: None
    torch.cuda.synchronize = lambda device=None: None
    torch.cuda.current_stream = lambda device=None: None
