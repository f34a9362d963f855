"""What is said to the graphics driver: a context, uniforms, vertex arrays. The only place that loads moderngl."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scenes.camera import Camera
from scenes.records import Surface

CLIP_DISTANCE = 0x3000  # GL_CLIP_DISTANCE0
PAINT = (("4f1", "a_colour"), ("4f1", "a_colour2"), ("2f", "a_kind"), ("3f", "a_paint"), ("1f", "a_mask"))
SKIN = (("3f", "a_position"), ("3f", "a_normal"))
BYTES = {"4f1": 4, "1f": 4, "2f": 8, "3f": 12}


class RenderError(RuntimeError):
    """No context to draw in."""


def context() -> Any:
    """A context without a window, on the graphics card or driver that EGL chooses.

    Raises:
        RenderError: moderngl is not installed, or no driver offers one.
    """
    try:
        import moderngl
    except ImportError as missing:
        raise RenderError("drawing scenes needs moderngl: install the extra [scenes]") from missing
    kind: Any = "egl"  # moderngl's stub has a wrong type for it
    try:
        return moderngl.create_context(require=330, standalone=True, backend=kind)
    except Exception as problem:  # noqa: BLE001  # moderngl raises bare Exceptions, its loader others
        raise RenderError(
            "no driver offers a context to draw in: on Debian, libegl1, libegl-mesa0 and libgl1-mesa-dri bring one"
            f" that needs no graphics card, used through the extra [scenes] ({problem})"
        ) from problem


def say(program: Any, **values: Any) -> None:
    """Set uniforms; those that the compiler found unused are left out. Matrices row by row, as in numpy."""
    for name, value in values.items():
        if name not in program:
            continue
        if np.ndim(value) == 2:
            matrix = np.asarray(value, np.float32)
            matrix = matrix if name.endswith("s") else matrix.T  # a list of vectors, or a matrix
            program[name].write(np.ascontiguousarray(matrix).tobytes())
        elif np.ndim(value) == 1:
            program[name].value = tuple(float(one) for one in value)
        else:
            program[name].value = value


def aim(gl: Any, program: Any, camera: Camera) -> None:
    """Let a program draw what a camera sees."""
    (width, height), K = camera.size, camera.K
    view = np.eye(4)
    view[:3, :3], view[:3, 3] = camera.R, camera.t
    k1, k2, p1, p2, k3 = camera.distortion
    say(
        program,
        view=view,
        lens=(2 * K[0, 0] / width, 2 * K[1, 1] / height, 2 * K[0, 2] / width - 1, 2 * K[1, 2] / height - 1),
        bend=(k1, k2, p1, p2),
        bend3=(k3, camera.reach2, float(camera.is_distorted)),
    )
    if camera.is_distorted:
        gl.enable_direct(CLIP_DISTANCE)
    else:
        gl.disable_direct(CLIP_DISTANCE)


def skin_bytes(surface: Surface) -> bytes:
    """Points and normals, as `SKIN` lies in memory."""
    return np.concatenate((surface.vertices, surface.normals), axis=1).astype(np.float32).tobytes()


def paint_bytes(surface: Surface, openness: NDArray[np.floating]) -> bytes:
    """What is said of each point, as `PAINT` lies in memory; ``openness`` (V,) is its share of the sky's light."""
    kind = np.dtype([("c", "u1", 4), ("d", "u1", 4), ("k", "f4", 2), ("p", "f4", 3), ("m", "f4")])
    packed = np.zeros(len(surface.vertices), kind)
    for name, colour, extra in (("c", surface.colour, surface.gloss), ("d", surface.colour2, openness)):
        packed[name] = np.rint(255 * np.clip(np.column_stack((colour, extra)), 0, 1))
    packed["k"] = np.column_stack((surface.pattern, surface.frequency))
    packed["p"], packed["m"] = surface.paint, surface.mask
    return packed.tobytes()


def arrays(
    gl: Any, programs: Mapping[str, Any], names: Sequence[str], skin: Any, paint: Any, index: Any
) -> dict[str, Any]:
    """By program, a vertex array of what it reads."""
    return {name: _array(gl, programs[name], skin, paint, index) for name in names}


def _array(gl: Any, program: Any, skin: Any, paint: Any, index: Any) -> Any:
    content = []
    for buffer, columns in ((skin, SKIN), (paint, PAINT)):
        names = [name for _, name in columns if name in program]
        words = [kind if name in program else f"{BYTES[kind]}x" for kind, name in columns]
        if names:
            content.append((buffer, " ".join(words), *names))
    return gl.vertex_array(program, content, index)
