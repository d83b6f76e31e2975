"""What pip's links say of the files and sources to which they lead."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from pip_sharedcache import trust
from pip_sharedcache.model import Digest, as_digest
from pip_sharedcache.pip_adapter.protocols import Link, Requirement
from pip_sharedcache.session.wheels import without_credentials

_COMMIT_LENGTH = 40  # hexadecimal digits of a fixed commit in a URL


def digests_of(link: Link, requirement: Requirement | None = None) -> tuple[Digest, ...]:
    """Return the sha256 digests that pip accepts for ``link``.

    This is the index's own digest, or else those of the requirement's --hash options.
    """
    if link.hash_name == "sha256" and (own := as_digest(link.hash or "")):
        return (own,)
    if requirement is None:
        return ()
    allowed: Sequence[str] = requirement.hash_options.get("sha256", ())
    return tuple(digest for text in allowed if (digest := as_digest(text)))


def serves_other(link: Link, digest: str) -> bool:
    """Return whether the index serves other metadata (PEP 658) for ``link`` than its wheel has.

    ``digest``: the sha256 of the wheel's own METADATA. An index that names no sha256 may serve
    other metadata.
    """
    metadata = link.metadata_link()
    return metadata is not None and digests_of(metadata) != (digest,)


def local_directory(text: str) -> str:
    """Return the resolved directory of a --find-links value; "" for a URL of another machine."""
    if "://" not in text:
        return os.path.realpath(text)
    parts = urlsplit(text)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        return ""
    return os.path.realpath(url2pathname(parts.path))


def source_of(link: Link) -> str | None:
    """Return the source at ``link``, if that can never be another source; else None."""
    if link.is_vcs:
        url, _, revision = without_credentials(link.url).rpartition("@")
        fixed = len(revision) == _COMMIT_LENGTH and not set(revision) - set("0123456789abcdef")
        return f"{url}@{revision}" if fixed else None
    if link.is_wheel or link.is_file or link.hash_name != "sha256":
        return None
    return f"sha256:{link.hash}"


def private_source_because(link: Link) -> str:
    """Return why the version-controlled source at ``link`` is private; "" if others may read it.

    Only the URL is checked: a name and password that git keeps for a server are not visible here.
    """
    if not link.is_vcs:
        return ""
    if "ssh" in link.scheme:
        return "pip fetches its source with an SSH key"
    if link.scheme.endswith("file"):
        path = Path(url2pathname(urlsplit(link.url).path.rpartition("@")[0]))
        if not trust.readable_by_all(path):
            return "other users may not read its source"
    return ""


def url_of(link: Link) -> str:
    """Return the URL of ``link`` without its fragment."""
    return link.url.partition("#")[0]


def source_url(requirement: Any) -> str:
    """Return the URL without a fragment from which pip takes the ``requirement``.

    For a wheel of pip's cache, or of the store, that was built, that of its source.
    """
    try:
        source = requirement.cached_wheel_source_link
    except AttributeError:  # up to pip 23.0, which notes the source of such a wheel elsewhere
        told = getattr(requirement, "download_info", None)
        if requirement.link.is_file and told is not None:
            return str(told.url).partition("#")[0]
        source = None
    return url_of(source or requirement.link)
