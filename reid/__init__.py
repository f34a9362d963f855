"""Is this the same person? Crops in, unit embeddings out; nothing here knows of cameras or tracks.

    from reid import load_embedder

    rows = load_embedder().embed(crops)     # (N, D) float32 unit rows

Running needs NumPy, OpenCV and ONNX Runtime; torch is for training and export only and is not imported here.
Names are loaded when they are asked for, so that comparing embeddings (`reid.gallery`) needs NumPy alone.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reid.calibrate import Calibration, fit_probability, threshold
    from reid.embedder import OnnxEmbedder, load_embedder
    from reid.gallery import Gallery, distances, select_diverse, set_distance

_HOME = {
    "Calibration": "calibrate",
    "fit_probability": "calibrate",
    "threshold": "calibrate",
    "OnnxEmbedder": "embedder",
    "load_embedder": "embedder",
    "Gallery": "gallery",
    "distances": "gallery",
    "select_diverse": "gallery",
    "set_distance": "gallery",
}

__all__ = [
    "Calibration",
    "Gallery",
    "OnnxEmbedder",
    "distances",
    "fit_probability",
    "load_embedder",
    "select_diverse",
    "set_distance",
    "threshold",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'reid' has no attribute {name!r}")
    return getattr(import_module(f"reid.{_HOME[name]}"), name)
