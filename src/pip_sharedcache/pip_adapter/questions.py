"""The question that a run asks pip's resolver, as JSON values."""

from __future__ import annotations

import datetime
import errno
import hashlib
import importlib
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from packaging.utils import canonicalize_name

from pip_sharedcache.pip_adapter.links import local_directory, source_of
from pip_sharedcache.session.wheels import has_credentials, without_credentials

#: pip's options that do not affect which distributions it resolves to. All others are part of the
#: question, those of future pips included. What the first group names (files, indexes) is in the
#: requirements and the finder by the time that the resolver runs.
_IRRELEVANT = frozenset(
    {
        *("requirements", "constraints", "editables", "dependency_groups", "build_constraints"),
        *("requirements_from_scripts", "index_url", "extra_index_urls", "find_links", "no_index"),
        *("target_dir", "prefix_path", "root_path", "src_dir", "compile", "dry_run"),
        *("warn_script_location", "warn_about_conflicts", "override_externally_managed"),
        *("json_report_file", "progress_bar", "no_clean", "python", "cache_dir", "refresh_package"),
        *("help", "debug_mode", "isolated_mode", "require_venv", "verbose", "version", "quiet"),
        *("log", "no_input", "no_color", "keyring_provider", "proxy", "retries", "timeout"),
        *(
            "resume_retries",
            "exists_action",
            "no_proxy_env",
            "trusted_hosts",
            "cert",
            "client_cert",
        ),
        *("disable_pip_version_check", "no_python_version_warning", "root_user_action"),
    }
)

#: Markers that differ between hosts with the same Python. Hardly any requirement reads them: they
#: are compared only if one does.
OF_HOST = ("platform_release", "platform_version")


class _NoQuestion(Exception):
    """The run asks something that no other run can ask."""


def question_of(resolver: Any, roots: Iterable[Any], options: Any) -> dict[str, Any] | str:
    """Return the question of ``resolver`` about ``roots``, or why it cannot be asked again.

    ``roots``: pip's requirements, those of constraints files included, in pip's order.
    """
    finder = resolver.factory._finder
    scope = finder.search_scope
    try:
        if getattr(options, "uploaded_prior_to", None) is not None:
            raise _NoQuestion("--uploaded-prior-to is another time in each run")
        _check_addresses(scope.index_urls, scope.find_links)
        return {
            "format": 1,
            "pip": importlib.import_module("pip").__version__,
            "requirements": [_requirement(root) for root in roots],
            "options": {
                name: plain(value)
                for name, value in sorted(vars(options).items())
                if name not in _IRRELEVANT
            },
            "indexes": [without_credentials(url) for url in scope.index_urls],
            "find links": [_find_links(link) for link in scope.find_links],
            "no index": bool(getattr(scope, "no_index", False)),
            "formats": plain(finder.format_control),
            "preferences": plain(finder._candidate_prefs),
            "python": _python(),
            "tags": _tags(finder.target_python),
        }
    except _NoQuestion as reason:
        return str(reason)


def projects_of(roots: Iterable[Any]) -> list[tuple[str, Any]]:
    """Return the projects for which pip is going to look because of the requirements ``roots``.

    With each comes pip's specifier of the versions that can be chosen.
    """
    return [
        (str(canonicalize_name(root.name)), root.req.specifier)
        for root in roots
        if root.name and root.link is None and not root.constraint and root.match_markers()
    ]


def _requirement(root: Any) -> dict[str, Any]:
    link = root.link
    if root.editable or (link is not None and link.is_file):
        raise _NoQuestion(f"{root} is a local file or editable")
    if link is not None and (has_credentials(link.url) or urlsplit(link.url).query):
        raise _NoQuestion(f"the URL of {root.name} contains credentials or a query")
    if link is not None and link.is_vcs and source_of(link) is None:
        raise _NoQuestion(f"{root.name} is not a fixed commit")
    return {
        "requirement": str(root.req) if root.req is not None else "",
        "url": "" if link is None else link.url,
        "markers": str(root.markers or ""),
        "extras": sorted(root.extras),
        "constraint": bool(root.constraint),
        "requested": bool(root.user_supplied),
        "hashes": plain(root.hash_options),
        "config": plain(getattr(root, "config_settings", None)),
        "options": plain(getattr(root, "global_options", None)),
    }


def _check_addresses(indexes: Sequence[str], find_links: Sequence[str]) -> None:
    """Raise _NoQuestion for addresses whose pages have no name that others may see.

    A query can be a secret. Two users of the same index can see different pages.
    """
    remote = [link for link in find_links if not local_directory(link)]
    for url in (*indexes, *remote):
        if urlsplit(url).query or (url in remote and has_credentials(url)):
            raise _NoQuestion(f"{without_credentials(url)} has credentials or a query")
    if len(set(indexes)) != len({without_credentials(url).rstrip("/") for url in indexes}):
        raise _NoQuestion("an index is named twice, as different users")


def host() -> str:
    """Return the values of the markers that differ between hosts with the same Python."""
    markers = importlib.import_module("pip._vendor.packaging.markers")
    environment: Mapping[str, str] = markers.default_environment()
    return " ".join(environment[name] for name in OF_HOST)


def _find_links(link: str) -> str:
    """Return the value of one --find-links: its URL, or its path and a digest of the listing."""
    path = local_directory(link)
    if not path:
        return without_credentials(link)
    listing = hashlib.sha256()
    try:
        with os.scandir(path) as entries:
            for entry in sorted(entries, key=lambda one: one.name):
                status = entry.stat()
                line = f"{entry.name} {status.st_size} {status.st_mtime_ns}\n"
                listing.update(line.encode("utf-8", "surrogateescape"))
    except OSError as error:  # a page, or nothing: pip reads it as the others
        return f"{path} ({errno.errorcode.get(error.errno or 0, '')})"
    return f"{path} {listing.hexdigest()}"


def _python() -> dict[str, str]:
    markers = importlib.import_module("pip._vendor.packaging.markers")
    environment: Mapping[str, str] = markers.default_environment()
    return {name: value for name, value in environment.items() if name not in OF_HOST}


def _tags(target: Any) -> str:
    """Return the sha256 of the wheel tags that pip accepts, best first."""
    tags = (getattr(target, "get_sorted_tags", None) or target.get_tags)()
    return hashlib.sha256("\n".join(map(str, tags)).encode("utf-8")).hexdigest()


def plain(value: Any) -> Any:
    """Return ``value`` as JSON values; raise an exception for one without a stable form."""
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, (datetime.datetime, datetime.date)):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(name): plain(one) for name, one in sorted(value.items())}
    if isinstance(value, (set, frozenset)):
        return sorted(map(str, value))
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    names = [*getattr(type(value), "__slots__", ()), *getattr(value, "__dict__", ())]
    if not names:
        raise _NoQuestion(f"{type(value).__name__} is an unknown kind of option")
    return {name: plain(getattr(value, name)) for name in sorted(names)}
