"""One decoder, fed with what reaches more and more of its code until it breaks or time is over (libFuzzer's options).

    python -m benchmarks.reliability.fuzz DECODER [-max_total_time=600]

DECODER: wire, tape, checkpoint, site_model or settings. Needs atheris (Apache-2.0); nothing else here does.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path


def main(arguments: list[str]) -> None:
    """Ends with 0 when nothing broke; libFuzzer's code and the input otherwise."""
    import atheris

    # What is to be reached, instrumented while it is imported: all that is loaded with it would take minutes.
    reached = ["tracker.io.wire", "tracker.io.tape", "tracker.io.store", "tracker.core.topology"]
    with atheris.instrument_imports(include=[*reached, "tracker.config", "configs.reading"]):
        from benchmarks.reliability import hostile

    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        sound, one = hostile.decoders(folder)[arguments[0]]
        (folder / "corpus").mkdir()
        for n, data in enumerate(sound):
            (folder / "corpus" / str(n)).write_bytes(data)
        atheris.Setup([sys.argv[0], *arguments[1:], str(folder / "corpus")], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
