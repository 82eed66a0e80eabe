"""`torch.cuda` calls that the host makes on every machine.

Forced by: deepspeed.py:97,614; ppo_actor.py:148,171,436,605,627; launcher.py:65,136; ppo_critic.py:83,268,291;
distributed_util.py:10; and replay_buffer.py:40, which formats `cuda:{torch.cuda.current_device()}`.
Without it: "Torch not compiled with CUDA enabled". On a machine that has CUDA nothing is touched.
"""

from types import ModuleType


class CpuDevice(str):
    """ "cpu" wherever a device is wanted, "0" inside an f-string: `cuda:0` names a device that is never allocated
    on."""

    __slots__ = ()

    def __format__(self, spec: str) -> str:
        """What `f"cuda:{device}"` sees."""
        return "0"


def patch(torch: ModuleType) -> None:
    """Four functions, each its own object: torch._dynamo's rule map rejects one object under two names."""
    if torch.version.cuda is not None and torch.cuda.is_available():
        return
    device = CpuDevice("cpu")
    torch.cuda.current_device = lambda: device
    torch.cuda.set_device = lambda device: None
    torch.cuda.synchronize = lambda device=None: None
    torch.cuda.current_stream = lambda device=None: None
