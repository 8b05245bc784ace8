"""Where torch runs and in which number format; all that the torch backends share, without ``transformers``."""

from __future__ import annotations

from rescorer_sidecar.errors import ConfigError, MissingExtra

try:
    import torch
except ImportError as error:
    raise MissingExtra("torch", "sidecar") from error

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def device_and_precision(device: str, precision: str) -> tuple[torch.device, str]:
    """Both with ``auto`` decided: CUDA where there is one, fp16 there and fp32 on the CPU. ConfigError for neither."""
    place = _device(device)
    return place, precision if precision != "auto" else ("fp16" if place.type == "cuda" else "fp32")


def free_bytes(place: torch.device) -> int:
    """What a CUDA device has free."""
    return int(torch.cuda.mem_get_info(place)[0])


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"device {name} is asked for, but torch sees no GPU; use --device cpu or auto")
    try:
        return torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"device {name} is none that torch knows; use auto, cpu or cuda:0") from error
