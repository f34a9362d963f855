"""The model files, their cards, and the one way to open them.

    import models

    opened = models.open_model(models.DEFAULT_DETECTOR, device="auto", threads=1)
    opened.session.run(...)

A model is named by its card (``models list``), or by the path of an .onnx file, with a card ``x.toml`` beside
``x.onnx`` where it needs one. Every opening checks the file's SHA-256 against its card. The session runs
where it was asked to or `ModelError` says why not: there is no silent fall-back.
"""

from models.catalogue import (
    ModelCard,
    ModelError,
    ModelFile,
    cache_folder,
    card,
    cards,
    find,
    locate,
    read_card,
    sha256_of,
    verify,
)
from models.download import fetch
from models.session import OpenedModel, cuda_device_count, open_model

DEFAULT_DETECTOR = "nanodet_g_person"
DEFAULT_EMBEDDER = "research"

__all__ = [
    "DEFAULT_DETECTOR",
    "DEFAULT_EMBEDDER",
    "ModelCard",
    "ModelError",
    "ModelFile",
    "OpenedModel",
    "cache_folder",
    "card",
    "cards",
    "cuda_device_count",
    "fetch",
    "find",
    "locate",
    "open_model",
    "read_card",
    "sha256_of",
    "verify",
]
