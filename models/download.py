"""Fetch a model that this package knows but does not ship; keep it only when its bytes are the right ones."""

import hashlib
import os
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from models.catalogue import SHIPPED, ModelError, cache_folder, card, recorded_hash_file, sha256_of, verify

CHUNK = 1 << 20
TIMEOUT_S = 30.0


def fetch(name: str, *, sha256: str | None = None, trust_first: bool = False) -> Path:
    """Download a model into the cache and return its path; a file that is already there and right is kept.

    Args:
        name: Of a card with a ``url``. A shipped model is answered with its own path.
        sha256: What the bytes must hash to, for a card that has no hash of its own.
        trust_first: Take the bytes as they come where no hash is known. The hash is recorded beside the file,
            and the file is held to it from then on.

    Raises:
        ModelError: The card has no ``url``, no hash is known, the download fails, or the bytes are not the
            right ones. Nothing is left behind in these cases.
    """
    own = card(name)
    if own.is_shipped:
        return SHIPPED / own.file
    if not own.url:
        raise ModelError(
            f"the card of {name} names no address to fetch it from: put the file at {SHIPPED / own.file}"
        )
    given = (sha256 or "").strip().lower()
    if own.sha256 and given and given != own.sha256:
        raise ModelError(
            f"the SHA-256 given for {name} is not the one on its card, {own.sha256}: leave it out"
        )
    wanted = own.sha256 or given
    if not wanted and not trust_first:
        raise ModelError(
            f"the SHA-256 of {name} is not known: give it (--sha256), or trust the first copy (--trust-first)"
        )
    target = cache_folder() / own.file
    if target.is_file() and verify(name) == "ok" and wanted in ("", sha256_of(target)):
        return target
    found = _download(own.name, own.url, target, wanted)
    recorded_hash_file(target).write_text(f"{found}  {target.name}\n", encoding="ascii")
    return target


def _download(name: str, url: str, target: Path, wanted: str) -> str:
    """Put the bytes at ``url`` at ``target``, whole and right or not at all; the answer is their hash."""
    digest = hashlib.sha256()
    partial: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with (
            urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer,
            tempfile.NamedTemporaryFile(dir=target.parent, prefix=".fetch-", delete=False) as out,
        ):
            partial = Path(out.name)
            while chunk := answer.read(CHUNK):
                digest.update(chunk)
                out.write(chunk)
        found = digest.hexdigest()
        if wanted and found != wanted:
            raise ModelError(f"{url} gave bytes with SHA-256 {found}, not {wanted}: {name} was not kept")
        os.replace(partial, target)
        return found
    except (OSError, ValueError) as problem:  # a URLError is an OSError, a malformed address a ValueError
        reason = problem.reason if isinstance(problem, urllib.error.URLError) else problem
        raise ModelError(f"{name} could not be fetched from {url}: {reason}") from problem
    finally:
        if partial is not None:
            partial.unlink(missing_ok=True)
