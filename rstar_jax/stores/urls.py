"""URLs of buckets, told from paths of this machine."""

from __future__ import annotations

import re
from pathlib import Path

from rstar_jax.errors import UserError

# By scheme: what fsspec calls it, the extra that brings its package, and how one gets credentials.
_GOOGLE = ("gs", "gs", "gcloud auth application-default login, or GOOGLE_APPLICATION_CREDENTIALS=KEY.json")
_AMAZON = ("s3", "s3", "aws configure, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
SCHEMES = {"gs": _GOOGLE, "gcs": _GOOGLE, "s3": _AMAZON, "s3a": _AMAZON, "memory": ("memory", "", "")}
# Takes "gs://bucket/x" and "gs:/bucket/x", which Path makes of it; takes no "C:\x", "hf:name" and "a/b:/c".
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+")


def is_google(url: str) -> bool:
    """Tell if a URL is of Google Cloud Storage, in which orbax saves by itself."""
    return SCHEMES[url.partition("://")[0]] is _GOOGLE


def url_of(path: str | Path) -> str | None:
    """The URL that a path means, with the two slashes that Path makes one of; None for a local path.

    Raises UserError for an unknown scheme, and for a URL without a bucket.
    """
    found = _URL.match(str(path))
    if not found:
        return None
    scheme, rest = found[1].lower(), str(path)[found.end() :].strip("/")
    if scheme not in SCHEMES:
        known = ", ".join(f"{name}://" for name in SCHEMES)
        raise UserError(f"{found[1]}://{rest}: a local path or a URL expected that begins with {known}.")
    if not rest:
        raise UserError(f"{scheme}://: no bucket named. {scheme}://BUCKET/FOLDER expected.")
    if any(part in ("", ".", "..") for part in rest.split("/")):
        raise UserError(f"{scheme}://{rest}: names without '.', '..' and '//' expected between its slashes.")
    if "?versionId=" in rest:  # s3fs would cut off all that follows
        raise UserError(
            f"{scheme}://{rest}: a name without '?versionId=' expected: of each the latest is taken."
        )
    return f"{scheme}://{rest}"
