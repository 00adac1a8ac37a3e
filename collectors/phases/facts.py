"""What a PyTorch program shows of itself: samples in a batch, model, device, precision."""

from typing import Any, Dict, Optional

_NOT_MODELS = ("torchvision.transforms", "kornia.augmentation")


def is_model(module: Any) -> bool:
    """Whether calling this module is a forward of a model, and not a step of pre- or post-processing.

    Image transforms are modules too, and so is a lone Softmax or Flatten.  Having no parameters says
    little by itself: quantized modules have none.
    """
    home = type(module).__module__
    if home.startswith(_NOT_MODELS):
        return False
    lone = home.startswith("torch.nn.modules.") and not module._modules
    return not lone or bool(module._parameters)


def samples_of(value: Any, depth: int = 0) -> Optional[float]:
    """First dimension of the first tensor in a batch (nested lists, tuples, dictionaries); None if there is none."""
    try:
        shape = getattr(value, "shape", None)
        if isinstance(shape, tuple):  # not so the stand-ins that torch.fx traces with
            return float(shape[0]) if shape else None
        if depth > 4:
            return None
        values: Any = ()
        if isinstance(value, (list, tuple)):
            values = value
        elif hasattr(value, "values") and hasattr(value, "keys"):
            values = list(value.values())
        for item in values[:64]:
            size = samples_of(item, depth + 1)
            if size is not None:
                return size
    except Exception:
        return None
    return None


def model_facts(torch: Any, module: Any, loader: Optional[Dict[str, Any]]) -> Dict[str, Any]:
    """What the manifest's factors need: model, device, threads, precision, batch size, workers."""
    inner = module
    for _ in range(4):  # torch.compile, DataParallel, DistributedDataParallel wrap the model
        children = getattr(inner, "_modules", {})
        wrapped = children.get("_orig_mod") or (children.get("module") if len(children) == 1 else None)
        if wrapped is None:
            break
        inner = wrapped
    parameter = next(iter(module.parameters()), None)
    device = "cpu" if parameter is None else str(parameter.device.type)
    precision = None if parameter is None else str(parameter.dtype).replace("torch.", "")
    mixed = _autocast(torch, device)
    facts = {
        "model": type(inner).__name__,
        "device": device,
        "precision": "mixed " + mixed if mixed else precision,
        "threads": int(torch.get_num_threads()),
    }
    if device == "cuda":
        facts["device_name"] = str(torch.cuda.get_device_name(parameter.device))  # type: ignore[union-attr]
    facts.update(loader or {})
    return facts


def _autocast(torch: Any, device: str) -> Optional[str]:
    """The lower precision that autocast uses now; None without autocast."""
    try:
        if torch.is_autocast_enabled(device):
            return str(torch.get_autocast_dtype(device)).replace("torch.", "")
    except TypeError:  # before 2.4 these took no device
        if device == "cuda" and torch.is_autocast_enabled():
            return str(torch.get_autocast_gpu_dtype()).replace("torch.", "")
        if device == "cpu" and torch.is_autocast_cpu_enabled():
            return str(torch.get_autocast_cpu_dtype()).replace("torch.", "")
    except (AttributeError, RuntimeError):
        pass
    return None
