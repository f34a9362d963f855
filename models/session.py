"""Open a model for running: by name, its hash checked, on the device that was asked for or not at all."""

import ctypes
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.catalogue import ModelCard, ModelError, find
from models.graph import with_input_shapes

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

log = logging.getLogger(__name__)

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


@dataclass(frozen=True)
class OpenedModel:
    """A model ready to run, and what it really is."""

    name: str
    path: Path
    sha256: str  # of the file
    card: ModelCard | None  # None for a bare .onnx file
    session: "InferenceSession"
    providers: list[str]  # that the session got, the preferred one first


def open_model(
    name_or_path: str,
    *,
    device: str = "auto",
    threads: int = 1,
    shapes: Mapping[str, Sequence[int | str]] | None = None,
) -> OpenedModel:
    """Open a model by name or by the path of an .onnx file.

    Args:
        name_or_path: See `models.locate`.
        device: ``auto`` (a CUDA device when there is one that works, else the CPU; the answer says which),
            ``cpu``, ``cuda`` or ``cuda:N``.
        threads: CPU threads for one run, at least 1.
        shapes: Other input dimensions than the file's, by input name: a number fixes one, a text names a free
            one.

    Raises:
        ModelError: There is no such model, its bytes are not those of its card, ONNX Runtime cannot read it,
            or a device that was asked for by name is not the one it got.
    """
    import onnxruntime  # here, so that listing models does not load it

    if threads < 1:
        raise ModelError(f"a model runs on at least 1 thread, not {threads}")
    found = find(name_or_path)
    wanted = _providers(device, onnxruntime)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Waiting threads would otherwise burn the cores that decoding needs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        # A path keeps weights in a file of their own readable; rewritten dimensions need the bytes.
        model = with_input_shapes(found.path.read_bytes(), shapes) if shapes else str(found.path)
        session = onnxruntime.InferenceSession(model, options, providers=wanted)
    except Exception as problem:  # ONNX Runtime's own errors share no narrower base
        reason = str(problem).strip().splitlines()[0]
        raise ModelError(f"the model file {found.path} cannot be opened on {device}: {reason}") from problem
    providers = list(session.get_providers())
    if wanted[0] != CPU and providers[0] == CPU:
        said = "ONNX Runtime fell back to the CPU: install the CUDA and cuDNN it needs, or ask for cpu"
        if device != "auto":
            raise ModelError(f"the model {found.name} was to run on {device}, but {said}")
        log.warning("%s runs on the CPU although a CUDA device is present: %s", found.name, said)
    return OpenedModel(found.name, found.path, found.sha256, found.card, session, providers)


def _providers(device: str, onnxruntime: Any) -> list[Any]:
    """What to ask ONNX Runtime for, best first."""
    kind, colon, number = device.partition(":")
    if device == "cpu":
        return [CPU]
    if device != "auto" and (kind != "cuda" or bool(colon) != number.isdecimal()):
        raise ModelError(f"the device {device!r} is unknown: use auto, cpu, cuda or cuda:N")
    built = CUDA in onnxruntime.get_available_providers()
    present = cuda_device_count()
    if built and present > int(number or 0):
        if hasattr(onnxruntime, "preload_dlls"):
            onnxruntime.preload_dlls()
        return [(CUDA, {"device_id": int(number)}) if number else CUDA, CPU]
    if device == "auto":
        return [CPU]
    why = (
        f"this machine shows {present} CUDA devices" if built else "this ONNX Runtime was built without CUDA"
    )
    raise ModelError(f"the device {device} was asked for, but {why}: ask for the device cpu or auto")


def cuda_device_count() -> int:
    """How many CUDA devices the driver shows, 0 without one; asked of the driver, which prints nothing."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    works = driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0
    return count.value if works else 0
