"""The contents of index pages: their digests, and their reduction to some of the links."""

from __future__ import annotations

import hashlib
import html
import importlib
import json
import posixpath
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import unquote, urlsplit

from packaging.utils import canonicalize_name

from pip_sharedcache.session.resolutions import Page
from pip_sharedcache.session.wheels import has_credentials, without_credentials

_JSON = "application/vnd.pypi.simple.v1+json"


def project_of(url: str) -> str:
    """Return the normalized project name at the end of the URL of an index page."""
    name = unquote(urlsplit(url).path.rstrip("/").rpartition("/")[2])
    return str(canonicalize_name(name))


def digest_of(content: Any) -> str:
    """Return the sha256 of the bytes of a page."""
    return hashlib.sha256(content.content).hexdigest()


def reduced(url: str, content: Any, etag: str, links: Collection[str]) -> Page | None:
    """Return a page with only the ``links`` (URLs) of ``content``; None if that is impossible.

    Entries stay as the index wrote them: pip parses and judges them again. A page is not recorded
    if its address or an entry has credentials, or a query, which can be a secret.
    """
    if content is None:
        return Page(url, "", "", "", "", "", "")
    names = {_file_of(link) for link in links}
    encoding = content.encoding or ""
    try:
        check_address(content.url)
        if is_json(content.content_type):
            data = json.loads(content.content)
            files = [
                one for one in data.get("files", []) if _file_of(one.get("url") or "") in names
            ]
            for one in files:
                check_address(one["url"])
            text = json.dumps({**data, "files": files, "versions": []})
        else:
            text, encoding = _reduced_html(content, names), "utf-8"
    except (ValueError, TypeError, AttributeError, LookupError, RecursionError):
        return None  # if pip cannot read the page either, it reports that
    return Page(url, digest_of(content), etag, content.url, content.content_type, encoding, text)


def _reduced_html(content: Any, names: Collection[str]) -> str:
    collector = importlib.import_module("pip._internal.index.collector")
    parser = collector.HTMLLinkParser(content.url)
    parser.feed(content.content.decode(content.encoding or "utf-8"))
    lines = [f'<base href="{html.escape(parser.base_url)}">'] if parser.base_url else []
    for anchor in parser.anchors:
        target = anchor.get("href") or ""
        if _file_of(target) in names:
            check_address(target)
            lines.append(_anchor(anchor))
    return "\n".join(lines)


def _anchor(attributes: Mapping[str, str | None]) -> str:
    parts = (
        name if value is None else f'{name}="{html.escape(value)}"'
        for name, value in attributes.items()
    )
    return f"<a {' '.join(parts)}></a>"


def with_links(page: Page, files: Iterable[str]) -> Page:
    """Return the page of a JudgedPage with links for some of its ``files``, as ``reduced`` does."""
    if is_json(page.content_type):
        return replace(page, links=f'{{"files":[{",".join(files)}]}}')
    lines = [f'<base href="{html.escape(page.links)}">'] if page.links else []
    lines += [_anchor(json.loads(one)) for one in files]
    return replace(page, encoding="utf-8", links="\n".join(lines))


def is_json(content_type: str) -> bool:
    """Return whether a page of this media type is JSON; else it is HTML."""
    return content_type.lower().startswith(_JSON)


def check_address(url: str) -> None:
    """Raise ValueError if ``url`` has credentials, or a query, which can be a secret."""
    if has_credentials(url) or urlsplit(url).query:
        raise ValueError(f"{without_credentials(url)} has credentials or a query")


def _file_of(url: str) -> str:
    return unquote(posixpath.basename(urlsplit(url).path))


def as_content(page: Page) -> Any:
    """Return the page as pip's IndexContent; None where the index has no such page."""
    if not page.digest:
        return None
    links = page.links.encode("utf-8")
    return content_of(links, page.content_type, page.encoding or None, page.location)


def facts_of(content: Any) -> tuple[str, str | None, str]:
    """Return the media type, the encoding and the URL of pip's ``content`` of a page."""
    return content.content_type, content.encoding, content.url


def content_of(data: bytes, content_type: str, encoding: str | None, url: str) -> Any:
    """Return pip's IndexContent with these values, from which pip parses links each time."""
    return importlib.import_module("pip._internal.index.collector").IndexContent(
        data, content_type, encoding=encoding, url=url, cache_link_parsing=False
    )
