"""Write a trained network as ONNX, proved to be the same network.

The graph takes two pictures as they are, ``before`` and ``after`` uint8 (N, H, W, C), sides multiples of the network's
own, and gives ``flow`` float32 (N, h, w, 2) in pixels of these pictures and ``trust`` float32 (N, h, w) in [0, 1], one
for a cell of the input; scaling is inside. A network that mends a search takes its flow as well, ``searched`` float32
(N, h, w, 2), means of cells, and ``flow`` is what to add to it; the search's name is in the metadata. Plain operators
of opset 18 only. The same checkpoint gives the same bytes.
"""

import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import helper
from torch import Tensor, nn

from flow.model import MENDED_CELL, Predictions, search_flow
from flow.train import load_network

OPSET = 18
IR_VERSION = 8  # what ONNX Runtime has read since 1.12
LIMIT_PX = 2e-2  # how far the graph's flow may be from the network's: 32-bit sums in another order
LIMIT_TRUST = 2e-3
AREAS = {"tiny": 160 * 96, "base": 288 * 224}  # pixels that a network sees at most
SEARCH_AREAS = {"tiny": 512 * 384, "base": 512 * 384}  # and its search
LARGEST_AREA = 512 * 384


class ParityError(RuntimeError):
    """The exported graph is not the network that was trained."""


@dataclass(frozen=True)
class Parity:
    """How far the graph is from the network, at most, over all that was compared."""

    flow_px: float
    trust: float
    pairs: int


class Running(nn.Module):
    """A network with bytes for input and columns for output."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, before: Tensor, after: Tensor, searched: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(N, H, W, C) uint8 twice, (N, h, w, 2) where there is a search -> flow (N, h, w, 2), trust (N, h, w)."""
        pictures = [one.permute(0, 3, 1, 2).float() / 255.0 for one in (before, after)]
        if searched is not None:
            _, flow, trust, _ = self.network.mend(*pictures, searched.permute(0, 3, 1, 2))
            return flow.permute(0, 2, 3, 1), trust.sigmoid()[:, 0]
        said: Predictions = self.network(*pictures)
        flow = said.flows[-1]
        trust = flow[:, :1] * 0.0 + 1.0 if said.trust is None else said.trust.sigmoid()
        return flow.permute(0, 2, 3, 1), trust[:, 0]


def search_of(network: nn.Module) -> str:
    """The search that a network mends; empty where it finds flow alone."""
    return str(getattr(network, "search", ""))


def to_onnx(network: nn.Module, *, name: str, area: int) -> onnx.ModelProto:
    """The running graph of a network, in float32.

    Args:
        network: In evaluation mode, on the CPU; it is left as it is.
        name: For the model's metadata.
        area: Pixels that it should see at most.
    """
    channels, multiple = int(network.channels), int(network.multiple)  # type: ignore[arg-type]
    search = search_of(network)
    high, wide = 4 * multiple, 6 * multiple
    example = torch.zeros(1, high, wide, channels, dtype=torch.uint8)
    examples, names = [example, example], ["before", "after"]
    free, answered = {0: "N", 1: "H", 2: "W"}, {0: "N", 1: "h", 2: "w"}
    axes = {"before": free, "after": free, "flow": answered, "trust": answered}
    if search:
        examples.append(torch.zeros(1, high // MENDED_CELL, wide // MENDED_CELL, 2))
        names.append("searched")
        axes["searched"] = answered
    written = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # this exporter warns of its age; its successor needs a package more
        torch.onnx.export(
            Running(network).eval(),
            tuple(examples),
            written,
            dynamo=False,
            opset_version=OPSET,
            input_names=names,
            output_names=["flow", "trust"],
            dynamic_axes=axes,
        )
    model = onnx.load_model_from_string(written.getvalue())
    model.ir_version, model.producer_name, model.producer_version = IR_VERSION, "throughline", ""
    helper.set_model_props(
        model,
        {
            "network": name,
            "channels": f"{channels}",
            "multiple": f"{multiple}",
            "area": f"{area}",
            "search": search,
            "search_area": f"{SEARCH_AREAS.get(name, area)}" if search else "",
        },
    )
    onnx.checker.check_model(model, full_check=True)
    return model


@torch.inference_mode()
def parity(
    network: nn.Module, model: bytes, pairs: list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]
) -> Parity:
    """Compare graph and network.

    Args:
        network: In evaluation mode.
        model: The graph's bytes.
        pairs: Each (N, H, W, C) uint8 twice, of any sizes that the network takes.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    running = Running(network).eval()
    flow_px = trust = 0.0
    for before, after in pairs:
        feed = {"before": before, "after": after} | searched_of(network, before, after)
        wanted = [part.numpy() for part in running(*(torch.from_numpy(part) for part in feed.values()))]
        got = session.run(["flow", "trust"], feed)
        # np.maximum, not max: what is no number stays none, and is refused.
        flow_px = float(np.maximum(flow_px, np.abs(got[0] - wanted[0]).max()))
        trust = float(np.maximum(trust, np.abs(got[1] - wanted[1]).max()))
    return Parity(flow_px, trust, len(pairs))


def searched_of(
    network: nn.Module, before: NDArray[np.uint8], after: NDArray[np.uint8]
) -> dict[str, NDArray[np.float32]]:
    """What the search says of pictures (N, H, W, C), as the graph wants it; nothing for a network without one."""
    search = search_of(network)
    if not search:
        return {}
    pictures = [torch.from_numpy(one).permute(0, 3, 1, 2) / 255.0 for one in (before, after)]
    found = torch.nn.functional.avg_pool2d(search_flow(pictures[0], pictures[1], search), MENDED_CELL)
    return {"searched": np.ascontiguousarray(found.permute(0, 2, 3, 1).numpy())}


def check_pairs(
    channels: int, multiple: int, rng: np.random.Generator
) -> list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Drawn pairs of several sizes and numbers to compare on."""
    from flow.pairs import draw_pair
    from flow.reduced import grey_of

    sizes = [(2, 3, 1), (3, 5, 1), (4, 4, 2)] if multiple >= 64 else [(6, 10, 1), (5, 6, 1), (3, 3, 3)]
    out = []
    for rows, columns, count in sizes:
        drawn = [draw_pair(rng, rows * multiple, columns * multiple) for _ in range(count)]
        sides = []
        for pictures in ([p.before for p in drawn], [p.after for p in drawn]):
            as_asked = [grey_of(p)[..., None] if channels == 1 else p for p in pictures]
            sides.append(np.ascontiguousarray(np.stack(as_asked)))
        out.append((sides[0], sides[1]))
    return out


def export(checkpoint: Path, out: Path, *, area: int | None = None) -> Parity:
    """Write a checkpoint's network as an .onnx file, if it proves to be the same network.

    Args:
        checkpoint: Of `flow.train`.
        out: The file; replaced whole, or left as it was where the export fails.
        area: Pixels that the network should see at most; by default what its kind is made for.

    Raises:
        FileNotFoundError: There is no such checkpoint, or no folder for ``out``.
        ValueError: It is none, or ``out`` is no .onnx name.
        ParityError: Graph and network differ by more than `LIMIT_PX` or `LIMIT_TRUST`, or say what is no number.
    """
    if out.suffix != ".onnx":
        raise ValueError(f"{out} is no name for a model: it ends in .onnx")
    if not out.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {out.parent} for {out.name}")
    network, recipe = load_network(checkpoint)
    model = to_onnx(network, name=recipe.network, area=area or AREAS.get(recipe.network, LARGEST_AREA))
    written = model.SerializeToString(deterministic=True)
    channels, multiple = int(network.channels), int(network.multiple)  # type: ignore[arg-type]
    found = parity(network, written, check_pairs(channels, multiple, np.random.default_rng(0)))
    if not (found.flow_px <= LIMIT_PX and found.trust <= LIMIT_TRUST):
        raise ParityError(
            f"the graph is {found.flow_px:.3g} px and a trust of {found.trust:.3g} from the network: not written"
        )
    part = out.with_suffix(".part")
    part.write_bytes(written)
    part.replace(out)
    return found
