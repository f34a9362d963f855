"""Write a trained network as ONNX, proved to be the same network.

The graph takes crops as pictures are, ``crops`` uint8 (N, H, W, 3) BGR with N, H and W free, and gives ``embeddings``
float32 (N, D) of unit length: resizing, scaling and the division by the length are inside, so that nothing is left
for a user to do twice or to forget. Batch normalisation is folded into the layer before it. The same checkpoint
gives the same bytes.
"""

import copy
import io
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from reid.datasets import Pictures
from reid.model import ReidNet, build, normalise
from reid.parity import BATCHES, LIMITS, ParityError, ParityReport, Rows, check
from reid.pictures import HEIGHT, WIDTH, to_input
from reid.quantise import to_half, to_int8
from reid.recipe import Recipe, from_table
from reid.train import embed_all, read_checkpoint

OPSET = 18  # the first whose Resize can average when it shrinks
IR_VERSION = 8  # what ONNX Runtime has read since 1.12


class _UnitRows(nn.Module):
    """From resized pictures to unit rows: all of the graph but its first two operators."""

    def __init__(self, network: ReidNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, pictures: Tensor) -> Tensor:
        """(N, 3, H, W) float BGR, 0..255 -> (N, D)."""
        rows = self.network(normalise(pictures))
        return rows / rows.norm(dim=1, keepdim=True).clamp(min=1e-12)


def to_onnx(
    network: ReidNet, *, name: str = "reid", size: tuple[int, int] = (HEIGHT, WIDTH)
) -> onnx.ModelProto:
    """The running graph of a network, in float32.

    Args:
        network: In any mode, on any device; it is left as it is.
        name: Of the network, for the model's metadata.
        size: Height and width of the pictures that it was trained on.
    """
    body = _traced(network, size)
    constants = [node for node in body.node if node.op_type == "Constant"]
    weights = [numpy_helper.from_array(np.array(size, np.int64), "picture_size"), *body.initializer]
    for node in constants:
        weights.append(onnx.TensorProto())
        weights[-1].CopyFrom(helper.get_node_attr_value(node, "value"))
        weights[-1].name = node.output[0]
    # Resize comes first, on bytes in their own order: a crop that has the right size already passes at no cost.
    before = [
        helper.make_node(
            "Resize",
            ["crops", "", "", "picture_size"],
            ["resized"],
            axes=[1, 2],
            mode="linear",
            antialias=1,
            coordinate_transformation_mode="half_pixel",
        ),
        helper.make_node("Transpose", ["resized"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["planes"], ["pictures"], to=TensorProto.FLOAT),
    ]
    model = helper.make_model(
        helper.make_graph(
            [*before, *(node for node in body.node if node.op_type != "Constant")],
            name,
            [helper.make_tensor_value_info("crops", TensorProto.UINT8, ["N", "H", "W", 3])],
            [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["N", network.dim])],
            weights,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="throughline",
    )
    helper.set_model_props(
        model, {"network": name, "precision": "fp32", "height": f"{size[0]}", "width": f"{size[1]}"}
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def _traced(network: ReidNet, size: tuple[int, int]) -> onnx.GraphProto:
    """From ``pictures`` (N, 3, H, W) to ``embeddings``, batch normalisation folded."""
    running = copy.deepcopy(network).cpu().float().eval().requires_grad_(False)
    running.projection = nn.utils.fusion.fuse_linear_bn_eval(running.projection, running.neck)
    running.neck = nn.Identity()  # type: ignore[assignment]  # its work is done
    written = io.BytesIO()
    with warnings.catch_warnings():
        # This exporter warns of its age; its successor needs a package more.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _UnitRows(running),
            (torch.zeros(2, 3, *size),),
            written,
            dynamo=False,
            opset_version=OPSET,
            input_names=["pictures"],
            output_names=["embeddings"],
            dynamic_axes={"pictures": {0: "N"}, "embeddings": {0: "N"}},
        )
    return onnx.load_model_from_string(written.getvalue()).graph


def load_checkpoint(path: Path) -> tuple[ReidNet, Recipe]:
    """The averaged network of a checkpoint of `reid.train`, ready to run, and the recipe that made it.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no checkpoint, is cut off, or holds the weights of another network than it says.
    """
    state = read_checkpoint(path)
    try:
        recipe = from_table(state["recipe"])
        network = build(recipe.network, dim=recipe.dim, pool=recipe.pool)
    except (TypeError, ValueError) as problem:
        raise ValueError(f"{path}: {problem}") from problem
    try:
        network.load_state_dict(state["average"])
    except (RuntimeError, TypeError, AttributeError) as problem:
        reason = " ".join(str(problem).split())[:200]
        raise ValueError(f"{path} does not hold the weights of {recipe.network}: {reason}") from problem
    return network.eval(), recipe


def session_rows(model: bytes) -> Rows:
    """The rows that ONNX Runtime gives on one CPU thread."""
    import onnxruntime  # here, so that a graph can be made without it

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda crops: session.run(["embeddings"], {"crops": crops})[0]


def export(
    checkpoint: Path,
    out: Path,
    *,
    precision: str = "fp32",
    crops: NDArray[np.uint8],
    test: tuple[Pictures, Pictures] | None = None,
) -> ParityReport:
    """Write a checkpoint's network as an .onnx file, if it proves to be the same network.

    Args:
        checkpoint: Of `reid.train`.
        out: The file; replaced whole, or left as it was where the export fails.
        precision: ``fp32``; ``fp16`` for GPUs; ``int8``, calibrated with the crops, for CPUs.
        crops: (N, h, w, 3) uint8 BGR, real ones of any kind, N at least 32; the first 32 are compared.
        test: Query and gallery, to compare rank-1 and mAP as well; ``int8`` cannot do without.

    Raises:
        FileNotFoundError: There is no such checkpoint, or no folder for ``out``.
        ValueError: It is none, or the crops are too few, or there is no such precision, or ``out`` is no .onnx name.
        ParityError: The export differs from the network by more than `reid.parity.LIMITS` allow.
    """
    if precision not in LIMITS:
        raise ValueError(f"no precision is called {precision!r}: {', '.join(LIMITS)}")
    if out.suffix != ".onnx":
        raise ValueError(f"{out} is no name for a model: it ends in .onnx")
    if not out.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {out.parent} for {out.name}")
    network, recipe = load_checkpoint(checkpoint)
    size = (recipe.height, recipe.width)
    if not len(crops):
        raise ValueError("an export is checked on real crops, and none were given")
    model = to_onnx(network, name=recipe.network, size=size)
    if precision == "fp16":
        model = to_half(model)
    elif precision == "int8":
        model = to_int8(model, crops)
    data = model.SerializeToString(deterministic=True)
    pictures = np.stack([to_input(crop, size) for crop in crops[: max(BATCHES)]])
    report = check(
        lambda crops: embed_all(network, crops, size),
        session_rows(data),
        pictures,
        precision=precision,
        test=test,
    )
    if report.failures:
        raise ParityError(report)
    part = out.with_suffix(".part")
    part.write_bytes(data)
    part.replace(out)
    return report
