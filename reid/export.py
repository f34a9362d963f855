"""Write a trained network as ONNX: ``python -m reid.export --checkpoint FILE --out FILE.onnx``.

The graph takes crops as pictures are, ``crops`` uint8 (N, 128, 64, 3) BGR, and gives ``embeddings`` float32 (N, D) of
unit length; N is free. Batch normalisation is folded into the convolutions and the projection. The graph is put
together operator by operator, so that it holds what ONNX Runtime runs fast on a CPU and nothing else, and the same
checkpoint gives the same bytes.
"""

import argparse
import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from reid.model import (
    MEAN_BGR,
    SCALE,
    VARIANTS,
    Convolution,
    Encoder,
    HalfInstanceNorm,
    ReidNet,
    ResidualBlock,
)
from reid.pictures import HEIGHT, WIDTH

LOG = logging.getLogger(__name__)
OPSET = 17


class _Graph:
    """Operators and weights in the order they were added."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def add(
        self, operator: str, inputs: Sequence[str], *, output: str | None = None, **attributes: Any
    ) -> str:
        """One operator with one output; answers the output's name."""
        name = output or f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def weight(self, values: NDArray[Any]) -> str:
        """A constant; answers its name."""
        name = f"weight_{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def add_split(self, name: str, channels: int) -> tuple[str, str]:
        """The first ``channels`` channels and the rest."""
        slices = []
        for start, end in ((0, channels), (channels, np.iinfo(np.int64).max)):
            bounds = [self.weight(np.array([value], np.int64)) for value in (start, end, 1)]
            slices.append(self.add("Slice", [name, *bounds]))
        return slices[0], slices[1]


def _array(values: torch.Tensor) -> NDArray[np.float64]:
    return values.detach().double().cpu().numpy()


def _scale_and_shift(norm: nn.Module) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What batch normalisation does when running: ``y = scale x + shift``."""
    if (
        not isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d)
        or norm.running_mean is None
        or norm.running_var is None
    ):
        raise TypeError(f"only batch normalisation with running averages folds, not {type(norm).__name__}")
    scale = _array(norm.weight) / np.sqrt(_array(norm.running_var) + norm.eps)
    return scale, _array(norm.bias) - scale * _array(norm.running_mean)


def _convolution(graph: _Graph, name: str, part: nn.Module) -> str:
    if not isinstance(part, Convolution):
        raise TypeError(f"no way to export a {type(part).__name__}")
    kernel, norm = _array(part.get_parameter("0.weight")), part[1]
    forgetting = norm if isinstance(norm, HalfInstanceNorm) else None
    scale, shift = _scale_and_shift(norm.batch if isinstance(norm, HalfInstanceNorm) else norm)
    if forgetting is not None:  # its channels stay as they are until the instance is known
        plain = np.ones(forgetting.split)
        scale, shift = np.concatenate((plain, scale)), np.concatenate((0.0 * plain, shift))
    size = kernel.shape[2]
    constants = [kernel * scale[:, None, None, None], shift]
    result = graph.add(
        "Conv",
        [name, *(graph.weight(values.astype(np.float32)) for values in constants)],
        kernel_shape=[size, size],
        strides=[part.stride, part.stride],
        pads=[size // 2] * 4,
    )
    if forgetting is None:
        return result
    instance = forgetting.instance
    first, second = graph.add_split(result, forgetting.split)
    affine = [graph.weight(_array(values).astype(np.float32)) for values in (instance.weight, instance.bias)]
    first = graph.add("InstanceNormalization", [first, *affine], epsilon=instance.eps)
    return graph.add("Concat", [first, second], axis=1)


def _block(graph: _Graph, name: str, block: ResidualBlock) -> str:
    inner = graph.add("Relu", [_convolution(graph, name, block.first)])
    inner = _convolution(graph, inner, block.second)
    beside = name if isinstance(block.shortcut, nn.Identity) else _convolution(graph, name, block.shortcut)
    return graph.add("Relu", [graph.add("Add", [inner, beside])])


def _pool(graph: _Graph, name: str, height: int, width: int) -> str:
    """`reid.model.BodyPooling`: both halves by one average pooling, the whole as their mean; (N, 3 C) by channel."""
    cubes = graph.add("Mul", [graph.add("Mul", [name, name]), name])
    halves = graph.add(
        "AveragePool", [cubes], kernel_shape=[height // 2, width], strides=[height // 2, width]
    )
    whole = graph.add("ReduceMean", [halves], axes=[2], keepdims=1)
    parts = graph.add("Concat", [whole, halves], axis=2)
    parts = graph.add("Max", [parts, graph.weight(np.array(1e-9, np.float32))])
    parts = graph.add("Pow", [parts, graph.weight(np.array(1.0 / 3.0, np.float32))])
    return graph.add("Flatten", [parts], axis=1)


def _projection(graph: _Graph, name: str, network: ReidNet) -> str:
    """Projection and neck as one matrix, its columns in the order that `_pool` leaves."""
    scale, shift = _scale_and_shift(network.neck)
    weight = _array(network.projection.weight) * scale[:, None]
    bias = _array(network.projection.bias) * scale + shift
    by_channel = weight.reshape(network.dim, 3, -1).transpose(0, 2, 1).reshape(network.dim, -1)
    constants = [graph.weight(v.astype(np.float32)) for v in (by_channel, bias)]
    return graph.add("Gemm", [name, *constants], transB=1)


def to_onnx(network: ReidNet) -> onnx.ModelProto:
    """The running graph of a trained network.

    Raises:
        TypeError: The encoder is made of other parts than `reid.model.Encoder` is.
    """
    if not isinstance(network.encoder, Encoder):
        raise TypeError(f"only reid.model.Encoder can be exported, not {type(network.encoder).__name__}")
    graph = _Graph()
    planes = graph.add("Transpose", ["crops"], perm=[0, 3, 1, 2])
    planes = graph.add("Cast", [planes], to=TensorProto.FLOAT)
    mean = graph.weight(np.array(MEAN_BGR, np.float32).reshape(1, 3, 1, 1))
    name = graph.add("Sub", [planes, mean])
    name = graph.add("Mul", [name, graph.weight(np.array(1.0 / SCALE, np.float32))])
    height, width = HEIGHT, WIDTH
    for part in network.encoder:
        if isinstance(part, ResidualBlock):
            name, stride = _block(graph, name, part), part.stride
        elif isinstance(part, Convolution):
            name, stride = _convolution(graph, name, part), part.stride
        else:
            name, stride = graph.add("Relu", [name]), 1
        height, width = height // stride, width // stride
    rows = _projection(graph, _pool(graph, name, height, width), network)
    length = graph.add("ReduceL2", [rows], axes=[1], keepdims=1)
    length = graph.add("Max", [length, graph.weight(np.array(1e-12, np.float32))])
    graph.add("Div", [rows, length], output="embeddings")
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "reid",
            [helper.make_tensor_value_info("crops", TensorProto.UINT8, ["N", HEIGHT, WIDTH, 3])],
            [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["N", network.dim])],
            graph.weights,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=8,
        producer_name="throughline",
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def load_checkpoint(path: Path) -> ReidNet:
    """The averaged network of a checkpoint of `reid.train`, ready to run."""
    state = torch.load(path, weights_only=True)
    network = VARIANTS[state["recipe"]["network"]]()
    network.load_state_dict(state["average"])
    return network.eval()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m reid.export", description="Write a trained network as ONNX."
    )
    parser.add_argument("--checkpoint", type=Path, required=True, help="checkpoint.pt of reid.train")
    parser.add_argument("--out", type=Path, required=True, help="the .onnx file to write")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    data = to_onnx(load_checkpoint(options.checkpoint)).SerializeToString(deterministic=True)
    options.out.write_bytes(data)
    LOG.info("%s: %d bytes, sha256 %s", options.out, len(data), hashlib.sha256(data).hexdigest())


if __name__ == "__main__":
    main()
