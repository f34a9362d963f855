"""Give the inputs of an ONNX graph other sizes, without the ``onnx`` package.

Exported detectors often carry one fixed input size although every layer would take others. The size stands in
a few bytes of the file (protobuf, field numbers of ``onnx.proto3``), and those are rewritten here; the
weights are copied.
"""

from collections.abc import Iterator, Mapping, Sequence

MODEL_GRAPH = 7
GRAPH_INPUT, GRAPH_OUTPUT, GRAPH_VALUE_INFO = 11, 12, 13
VALUE_NAME, VALUE_TYPE = 1, 2
TYPE_TENSOR = 1
TENSOR_SHAPE = 2
SHAPE_DIM = 1
DIM_VALUE, DIM_PARAM = 1, 2

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


def with_input_shapes(model: bytes, shapes: Mapping[str, Sequence[int | str]]) -> bytes:
    """The same model with other input shapes.

    Shapes of outputs and of values in between are left for the runtime to infer again.

    Args:
        model: An ONNX file's bytes, with its weights inside.
        shapes: New dimensions by input name; a number fixes a dimension, a text names a free one.

    Raises:
        ValueError: The bytes are no ONNX model, or it has no input of that name.
    """
    found: set[str] = set()
    out = bytearray()
    for field, kind, value in _fields(memoryview(model)):
        if field == MODEL_GRAPH and kind == BYTES:
            value = memoryview(_reshape_graph(value, shapes, found))
        _put(out, field, kind, value)
    if missing := sorted(set(shapes) - found):
        raise ValueError(f"the model has no input named {', '.join(missing)}")
    return bytes(out)


def _reshape_graph(graph: memoryview, shapes: Mapping[str, Sequence[int | str]], found: set[str]) -> bytes:
    out = bytearray()
    for field, kind, value in _fields(graph):
        if field == GRAPH_VALUE_INFO:
            continue
        if field == GRAPH_INPUT:
            name = bytes(next(v for f, _, v in _fields(value) if f == VALUE_NAME)).decode()
            if name in shapes:
                found.add(name)
                value = memoryview(_with_shape(value, (VALUE_TYPE, TYPE_TENSOR), _shape(shapes[name])))
        elif field == GRAPH_OUTPUT:
            value = memoryview(_with_shape(value, (VALUE_TYPE, TYPE_TENSOR), None))
        _put(out, field, kind, value)
    return bytes(out)


def _with_shape(message: memoryview, path: tuple[int, ...], shape: bytes | None) -> bytes:
    """The message with the shape of the tensor type at ``path`` replaced, or taken away for None."""
    out = bytearray()
    for field, kind, value in _fields(message):
        if path and field == path[0]:
            value = memoryview(_with_shape(value, path[1:], shape))
        elif not path and field == TENSOR_SHAPE:
            continue
        _put(out, field, kind, value)
    if not path and shape is not None:
        _put(out, TENSOR_SHAPE, BYTES, memoryview(shape))
    return bytes(out)


def _shape(dims: Sequence[int | str]) -> bytes:
    out = bytearray()
    for dim in dims:
        one = bytearray()
        if isinstance(dim, str):
            _put(one, DIM_PARAM, BYTES, memoryview(dim.encode()))
        else:
            _put(one, DIM_VALUE, VARINT, memoryview(_varint(dim)))
        _put(out, SHAPE_DIM, BYTES, memoryview(bytes(one)))
    return bytes(out)


def _fields(message: memoryview) -> Iterator[tuple[int, int, memoryview]]:
    """The fields of a protobuf message in order: (number, wire type, the value's bytes)."""
    at = 0
    while at < len(message):
        key, at = _read_varint(message, at)
        kind = key & 7
        if kind == VARINT:
            end = _read_varint(message, at)[1]
        elif kind == BYTES:
            size, at = _read_varint(message, at)
            end = at + size
        elif kind in (FIXED32, FIXED64):
            end = at + (4 if kind == FIXED32 else 8)
        else:
            raise ValueError("this is not an ONNX model")
        if end > len(message):
            raise ValueError("this is not a whole ONNX model")
        yield key >> 3, kind, message[at:end]
        at = end


def _put(out: bytearray, field: int, kind: int, value: memoryview) -> None:
    out += _varint(field << 3 | kind)
    if kind == BYTES:
        out += _varint(len(value))
    out += value


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _read_varint(message: memoryview, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        if at >= len(message) or shift > 63:
            raise ValueError("this is not a whole ONNX model")
        byte = message[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return number, at
