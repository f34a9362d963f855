"""Fewer bits for an exported embedder: half precision for GPUs, 8-bit integers for CPUs.

Both take the float32 graph of `reid.export.to_onnx` and leave its input, its output and what needs the range of
float32 as they are: preprocessing, instance normalisation, powers in the pooling, the division by the length.
"""

import contextlib
import io
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType, quantize_static

# Where exported nodes come from, in the words of `reid.model.ReidNet`.
ENCODER, PROJECTION = "/network/encoder/", "/network/projection/"
# The first convolutions see few channels of very different spread, and carry all that follows. Measured on trained
# EfficientNet-Lite0 encoders without and with instance normalisation, mAP on people of another site fell
#   with all convolutions in 8 bits by 0.97 and 0.11 points, with the first three in float32 by 0.41 and 0.20,
#   with the first six by 0.33 and 0.02.
# Activations cover the whole range that the crops gave: clipping 0.01 % of the values at either end changed mAP by
# 0.16 and 0.01 points, and needs ten times the time; 0.1 % was worse.
FLOAT_CONVOLUTIONS = 3
CALIBRATION_CROPS = 64
CALIBRATION_BATCH = 16
# Activations among them, so that what a layer gives is quantised once, after it was clipped.
QUANTISED = ("Conv", "Add", "Gemm", "Clip", "Relu")
HALF = "/half"  # ends the names of float16 values


def to_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph with encoder and projection in float16; in and out of them numbers are cast."""
    inferred = onnx.shape_inference.infer_shapes(model).graph
    floats = {v.name for v in inferred.value_info if v.type.tensor_type.elem_type == TensorProto.FLOAT}
    weights = {one.name: one for one in model.graph.initializer}
    is_half = [
        node.name.startswith((ENCODER, PROJECTION)) and node.op_type != "InstanceNormalization"
        for node in model.graph.node
    ]
    read_full = {name for node, half in zip(model.graph.node, is_half) if not half for name in node.input}
    read_half = {name for node, half in zip(model.graph.node, is_half) if half for name in node.input}
    nodes: list[onnx.NodeProto] = []
    for node, half in zip(model.graph.node, is_half):
        written = onnx.NodeProto()
        written.CopyFrom(node)
        nodes.append(written)
        for here, names in ((written.input, node.input), (written.output, node.output)):
            for place, name in enumerate(names):
                is_float = name in floats or (
                    name in weights and weights[name].data_type == TensorProto.FLOAT
                )
                if half and is_float:
                    here[place] = name + HALF
        for name in node.output:
            if half and name in floats & read_full:
                nodes.append(helper.make_node("Cast", [name + HALF], [name], to=TensorProto.FLOAT))
            elif not half and name in floats & read_half:
                nodes.append(helper.make_node("Cast", [name], [name + HALF], to=TensorProto.FLOAT16))
    narrow = [
        numpy_helper.from_array(numpy_helper.to_array(one).astype(np.float16), name + HALF)
        for name, one in weights.items()
        if name in read_half and one.data_type == TensorProto.FLOAT
    ]
    others = [one for name, one in weights.items() if name in read_full or one.data_type != TensorProto.FLOAT]
    graph = model.graph
    return with_graph(
        model, helper.make_graph(nodes, graph.name, graph.input, graph.output, others + narrow), "fp16"
    )


def with_graph(model: onnx.ModelProto, graph: onnx.GraphProto, precision: str) -> onnx.ModelProto:
    """The same model around another graph, checked."""
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    copied.graph.CopyFrom(graph)
    helper.set_model_props(
        copied, {one.key: one.value for one in model.metadata_props} | {"precision": precision}
    )
    onnx.checker.check_model(copied, full_check=True)
    return copied


class _Crops(CalibrationDataReader):
    """Crops in whole batches, as the calibration asks for them."""

    def __init__(self, crops: NDArray[np.uint8]) -> None:
        self._batches: Iterator[NDArray[np.uint8]] = iter(
            np.split(crops, range(CALIBRATION_BATCH, len(crops), CALIBRATION_BATCH))
        )

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        batch = next(self._batches, None)
        return None if batch is None else {"crops": batch}


def to_int8(model: onnx.ModelProto, crops: NDArray[np.uint8]) -> onnx.ModelProto:
    """The same graph with convolutions, sums and projection in 8 bits, as pairs of quantise and dequantise.

    Activations are unsigned; weights have a scale for each channel and 7 bits, since the multiply-add of processors
    without VNNI overflows with 8.

    Args:
        model: In float32.
        crops: (N, h, w, 3) uint8 BGR, real ones, N at least 16; `CALIBRATION_CROPS` of them, evenly drawn, say which
            values occur.

    Raises:
        ValueError: There are too few crops.
    """
    count = min(len(crops), CALIBRATION_CROPS) // CALIBRATION_BATCH * CALIBRATION_BATCH
    if not count:
        raise ValueError(f"calibration needs at least {CALIBRATION_BATCH} crops, not {len(crops)}")
    chosen = crops[np.linspace(0, len(crops) - 1, count).astype(int)]
    convolutions = [node.name for node in model.graph.node if node.op_type == "Conv"]
    wanted = [
        node.name
        for node in model.graph.node
        if node.name.startswith((ENCODER, PROJECTION)) and node.op_type in QUANTISED
    ]
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        before, after = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        prepared = onnx.shape_inference.infer_shapes(model)
        helper.set_model_props(prepared, {"onnx.quant.pre_process": "onnxruntime.quant"})
        onnx.save(prepared, str(before))
        quantize_static(
            str(before),
            str(after),
            _Crops(chosen),
            nodes_to_quantize=[name for name in wanted if name not in convolutions[:FLOAT_CONVOLUTIONS]],
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )
        return with_graph(model, onnx.load(str(after)).graph, "int8")
