"""Is this the same person? Crops in, unit embeddings out; nothing here knows of cameras or tracks.

    from reid import load_embedder

    rows = load_embedder().embed(crops)     # (N, D) float32 unit rows

Running needs NumPy, OpenCV and ONNX Runtime; torch is for training and export only and is not imported here.
"""

from reid.calibrate import Calibration, fit_probability, threshold
from reid.embedder import OnnxEmbedder, load_embedder
from reid.gallery import Gallery, distances, select_diverse, set_distance

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
