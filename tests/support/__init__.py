"""What the tests stand on: wheels, an index, accounts, file systems, environments, probes."""

from __future__ import annotations

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]

# Tests run with HOME, PIP_* and the like pointing to throw-away places (see conftest); what
# reaches the package index, or reads our own switches, uses the environment pytest was started in.
SESSION_ENVIRONMENT: dict[str, str] = dict(os.environ)

# Variables without which a package index behind a proxy or a private CA cannot be reached.
INDEX_VARIABLES = (
    "PIP_CERT",
    "PIP_CLIENT_CERT",
    "PIP_DEFAULT_TIMEOUT",
    "PIP_EXTRA_INDEX_URL",
    "PIP_INDEX_URL",
    "PIP_PROXY",
    "PIP_TRUSTED_HOST",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "ALL_PROXY",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
    "all_proxy",
    "https_proxy",
    "http_proxy",
    "no_proxy",
)


def offline(wheels: Path, store: Path | None, **others: str | None) -> dict[str, str | None]:
    """Variables for a pip that finds its wheels in the directory ``wheels`` alone, and for us the
    store (None: none is named); ``others`` on top."""
    return {
        "PIP_NO_CACHE_DIR": "1",
        "PIP_NO_INDEX": "1",
        "PIP_INDEX_URL": None,
        "PIP_EXTRA_INDEX_URL": None,
        "PIP_FIND_LINKS": str(wheels),
        "PIP_SHAREDCACHE_DIR": None if store is None else str(store),
        **others,
    }
