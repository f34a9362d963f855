"""Turn other layouts of a camera's calibration into ours.

    python -m benchmarks.calibration calib_0.json ... --out DIR

Reads the layout of the UFES lab's cameras: ``intrinsic``, ``distortion`` and ``extrinsic[0].tf`` (4x4, world ->
camera, metres), each a matrix as ``{"shape": {"dims": [{"size": n, "name": "rows"}, ...]}, "doubles": [...]}``.
Writes ``{"K", "distortion", "R", "t"}`` under the same file name.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def matrix(values: Any) -> NDArray[np.float64]:
    """A matrix of that layout."""
    rows, columns = (int(side["size"]) for side in values["shape"]["dims"])
    return np.array(values["doubles"], float).reshape(rows, columns)


def convert(values: Any) -> dict[str, Any]:
    """Our calibration. The rotation, rounded in the file, is made exact again (nearest by SVD).

    Raises:
        ValueError: A part is missing or of the wrong size.
    """
    try:
        world_to_camera = matrix(values["extrinsic"][0]["tf"])
        K, distortion = matrix(values["intrinsic"]), matrix(values["distortion"]).reshape(-1)
    except (KeyError, IndexError, TypeError) as problem:
        raise ValueError(f"no calibration in the expected layout: {problem!r}") from problem
    if world_to_camera.shape != (4, 4) or K.shape != (3, 3):
        raise ValueError(f"extrinsic {world_to_camera.shape} or intrinsic {K.shape} has another size")
    U, _, V = np.linalg.svd(world_to_camera[:3, :3])
    return {
        "K": K.tolist(),
        "distortion": distortion.tolist(),
        "R": (U @ V).tolist(),
        "t": world_to_camera[:3, 3].tolist(),
    }


def convert_file(path: Path, out: Path) -> Path:
    """Convert one file into the folder ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    target = out / path.name
    target.write_text(json.dumps(convert(json.loads(path.read_text(encoding="utf-8"))), indent=1))
    return target


def main() -> int:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("files", type=Path, nargs="+")
    options.add_argument("--out", type=Path, required=True)
    given = options.parse_args()
    for path in given.files:
        print(convert_file(path, given.out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
