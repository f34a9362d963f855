"""How a file becomes a crop, and a crop the network's input: the same in training, measuring and running."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

HEIGHT, WIDTH = 128, 64
LARGEST_BYTES = 64 * 2**20  # of one picture's file; a crop of a person has some thousands


def to_input(crop: NDArray[np.uint8], size: tuple[int, int] = (HEIGHT, WIDTH)) -> NDArray[np.uint8]:
    """Resize one crop (h, w, 3) uint8 BGR to ``size`` (height, width); its aspect ratio is not kept.

    Raises:
        ValueError: The crop is not (h, w, 3) uint8, or has no area.
    """
    if not isinstance(crop, np.ndarray) or crop.ndim != 3 or crop.shape[2] != 3 or crop.dtype != np.uint8:
        raise ValueError(f"a crop is (h, w, 3) uint8 BGR, not {_what_it_is(crop)}")
    h, w = crop.shape[:2]
    if h == 0 or w == 0:
        raise ValueError(
            f"a crop of {w}x{h} pixels has no area: clip boxes to the picture and drop empty ones"
        )
    height, width = size
    if (h, w) == (height, width):
        return crop
    # Averaging when shrinking: linear sampling of a large crop would keep single pixels, and their noise.
    how = cv2.INTER_AREA if h > height and w > width else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(crop, (width, height), interpolation=how), np.uint8)


def _what_it_is(crop: object) -> str:
    """What somebody handed over instead of a crop, and how to mend it."""
    if not isinstance(crop, np.ndarray):
        return f"a {type(crop).__name__}"
    said = f"{crop.shape} {crop.dtype}"
    if crop.dtype != np.uint8:
        return f"{said}: round to whole numbers from 0 to 255 first, NaN has no answer"
    if crop.ndim == 2 or crop.shape[2:] == (1,):
        return f"{said}: repeat a grey picture in three channels"
    return f"{said}: drop the fourth channel" if crop.shape[2:] == (4,) else said


def read_picture(path: Path) -> NDArray[np.uint8]:
    """The picture of one file, (h, w, 3) uint8 BGR.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It cannot be read, or is no whole picture.
    """
    if not path.exists():
        raise FileNotFoundError(f"no such picture: {path}")
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise ValueError(f"{path} has more than {LARGEST_BYTES >> 20} MiB: not a picture of a person")
        data = path.read_bytes()
    except OSError as problem:
        raise ValueError(f"{path} cannot be read: {problem.strerror}") from problem
    return decode(data, str(path))


def decode(data: bytes, name: str) -> NDArray[np.uint8]:
    """The picture in the bytes of a file, (h, w, 3) uint8 BGR: grey is repeated, a fourth channel dropped.

    Of 16 bits the upper 8 are taken.

    Args:
        data: JPEG, PNG or whatever else OpenCV reads.
        name: Stands in the error.

    Raises:
        ValueError: They are no picture, only the beginning of one, or one of other numbers than 8 or 16 bits: nobody
            knows what is white in a picture of floats, and NaN would become black.
    """
    if _is_cut_off(data):
        raise ValueError(f"{name} is cut off: its end is missing")
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    except cv2.error as problem:  # no bytes at all, or more pixels than OpenCV allows
        why = ", or one of too many pixels" if "PIXELS" in str(problem) else ""
        raise ValueError(f"{name} is not a picture{why}") from problem
    if picture is None:
        raise ValueError(f"{name} is not a picture")
    if picture.dtype == np.uint16:
        return np.right_shift(np.asarray(picture, np.uint16), 8).astype(np.uint8)
    if picture.dtype != np.uint8:
        raise ValueError(f"{name} is a picture of {picture.dtype}: give one of 8 or 16 whole bits a channel")
    return np.asarray(picture, np.uint8)


def _is_cut_off(data: bytes) -> bool:
    """Whether a JPEG or PNG lacks its end, which OpenCV would fill up with grey."""
    if data.startswith(b"\xff\xd8"):
        # The last scan (FF DA) must be followed by the end (FF D9); within a scan, FF is always followed by
        # 00 or a restart mark, and a thumbnail's end comes before (ITU-T T.81, B.1.1).
        return data.find(b"\xff\xd9", max(data.rfind(b"\xff\xda"), 2)) < 0
    return data.startswith(b"\x89PNG") and b"IEND" not in data
