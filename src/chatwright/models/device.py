"""Where the arithmetic happens and in which precision: `auto` asks the machine."""

import torch

from chatwright.errors import ConfigError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def device_of(name: str) -> torch.device:
    """`auto` is CUDA, else MPS, else the CPU; ConfigError for a device that is not there."""
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(device for device, there in present.items() if there))
    kind = name.split(":")[0]
    if not present.get(kind, False):
        there = ", ".join(device for device, is_there in present.items() if is_there)
        raise ConfigError(f"--device {name} is not on this machine; there is {there}")
    return torch.device(name)


def dtype_of(name: str, device: torch.device) -> torch.dtype:
    """`auto` is bf16 where the processor computes in it, fp16 on a GPU that does not, else fp32."""
    if name != "auto":
        return DTYPES[name]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    if device.type == "cpu" and torch.cpu._is_avx512_bf16_supported():
        return torch.bfloat16
    return torch.float32
