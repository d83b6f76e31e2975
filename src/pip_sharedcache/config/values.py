"""The values of settings: a parser for each kind of text, which raises ValueError or KeyError."""

from __future__ import annotations

import configparser
import io
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from pip_sharedcache.model import Policy

#: The record of a run: with the path of the environment, without that path, no record.
STATS = ("full", "anonymous", "off")

#: The words of pip for yes and no.
SWITCH: Mapping[str, bool] = {
    **dict.fromkeys(("1", "true", "yes", "y", "on"), True),
    **dict.fromkeys(("0", "false", "no", "n", "off"), False),
}
#: The value of ``dir`` that names no store: plain pip runs.
OFF = "none"
MOST_PROCESSES = 64
MOST_DOWNLOADS = 32
#: Seconds that a remote store may take to answer, at most.
MOST_TIMEOUT = 600

#: The URL schemes of remote stores: of a client library, and of pip's own session (read-only).
LIBRARY_SCHEMES = ("s3", "gs", "az", "file")
WEB_SCHEME = "https"

#: A URL, with the colons in it; else a text without a colon and a line break.
_ITEM = re.compile(
    r"[A-Za-z][A-Za-z0-9+.-]*://(?:[^/\s]*@)?(?:\[[0-9A-Fa-f:.]*\]|[^:/\s]*)(?::[0-9]+)?[^:\n]*"
    if os.pathsep == ":"
    else r"[A-Za-z][A-Za-z0-9+.-]+://[^;\n]*"
)
#: What can be secret in the URLs of a line. A password may have any character in it.
_USER = re.compile(r"(?<=://).*@")
_QUERY = re.compile(r"(?<=://)([^?#\n]*[?#]).+")


class WrongPart(ValueError):
    """A value with a part that is wrong; the text says what is wrong, and shows nothing of it.

    ``hint``: what the user can write instead.
    """

    def __init__(self, why: str, hint: str) -> None:
        super().__init__(why)
        self.hint = hint


@dataclass(frozen=True)
class LayerSetting:
    """One of the stores to use: its directory, and the use besides the search in it."""

    path: Path
    policy: Policy


@dataclass(frozen=True)
class RemoteSetting:
    """A remote store: its URL without a final slash, and whether runs push to it (Policy)."""

    url: str
    policy: Policy


def is_off(text: str) -> bool:
    """Return whether ``text``, a value of ``dir``, names no store."""
    return text.strip().lower() == OFF


def to_lines(text: str) -> list[str]:
    """Return the items of ``text``: one on a line, or with os.pathsep between them.

    The colons of a URL separate nothing.
    """
    found, rest = [], text
    while rest:
        blank = len(rest) - len(rest.lstrip())
        match = _ITEM.match(rest, blank)
        end = match.end() if match else len(re.match(f"[^\n{os.pathsep}]*", rest)[0])  # type: ignore[index]
        found.append(rest[:end].strip())
        rest = rest[end + 1 :]
    return [line for line in found if line]


def to_layers(text: str) -> tuple[LayerSetting | RemoteSetting, ...]:
    """Return the stores in ``text``, nearest first, each with a policy or none.

    These are absolute paths, and URLs. Returns () for OFF.
    """
    if is_off(text):
        return ()
    layers: dict[Path | str, LayerSetting | RemoteSetting] = {}
    for line in to_lines(text) or [""]:
        name, word = line.rsplit(None, 1) if len(line.split()) > 1 else (line, "")
        word = {"readonly": "read-only"}.get(word.lower(), word.lower())
        if "://" in line:
            remote = _to_remote(name, word)
            layers.setdefault(remote.url, remote)
            continue
        try:
            policy = Policy(word)
        except ValueError:
            name, policy = line, Policy.PUBLISH
        path = Path(os.path.expanduser(name.strip()))  # ValueError for an account like "~a\0b"
        if not path.is_absolute() or "\0" in name:
            raise ValueError(name)
        layers.setdefault(path, LayerSetting(path, policy))
    return tuple(layers.values())


def _to_remote(url: str, word: str) -> RemoteSetting:
    """Return the remote store ``url`` with the policy ``word``, or the usual one for "".

    A URL with a user, a password or a query is wrong: messages and records show URLs.
    """
    parts = urlsplit(url)  # ValueError for wrong brackets
    of_web = parts.scheme == WEB_SCHEME
    allowed = (Policy.READ_ONLY,) if of_web else (Policy.READ_ONLY, Policy.PUBLISH)
    try:
        policy = Policy(word or ("read-only" if of_web else "publish"))
    except ValueError:
        policy = Policy.PRIVATE
    if why := _wrong_in(url, parts):
        raise WrongPart(f"the URL {url.partition('://')[0]}://... {why}", _URL_HINT)
    if policy not in allowed:
        words = " or ".join(one.value for one in allowed)
        raise WrongPart(f"{parts.scheme}://... has another policy", f"write {words} after it")
    return RemoteSetting(url.rstrip("/"), policy)


_URL_HINT = (
    "credentials are the client library's, or pip's, not a part of the URL; see Remote stores in "
    "the reference"
)


def _wrong_in(url: str, parts: SplitResult) -> str:
    """Return what is wrong in ``url``, without its text; "" for nothing."""
    if parts.scheme not in (*LIBRARY_SCHEMES, WEB_SCHEME):
        return f"is none of {', '.join((*LIBRARY_SCHEMES, WEB_SCHEME))}"
    if "@" in url:
        return "has a user, a password or an '@'"
    if "?" in url:
        return "has a query"
    if "#" in url:
        return "has a fragment"
    of_files = parts.scheme == "file"
    if of_files and parts.netloc:
        return "has a host: write file:///"
    if not (parts.path.strip("/") if of_files else parts.hostname):
        return f"names no {'directory' if of_files else 'bucket or host'}"
    if ".." in parts.path.split("/"):
        return "has '..' in it"
    if not (url.isascii() and url.isprintable()) or set(url) & set(" \\\"'<>"):
        return "has a blank or a special character: write it as %XX"
    return ""


def without_secrets(text: str) -> str:
    """Return ``text`` without what can be secret in the URLs of its lines.

    That is all up to the last "@" of a line, and all behind a "?" or "#".
    """
    return _QUERY.sub(r"\1****", _USER.sub("****@", text))


def to_python(text: str) -> Path:
    """Return the absolute path ``text`` of an interpreter."""
    path = Path(os.path.expanduser(text))
    if not path.is_absolute() or "\0" in text:
        raise ValueError(text)
    return path


def unnameable(path: Path) -> str:
    """Return why the setting ``dir`` cannot name the store ``path`` in a file; "" if it can."""
    text = str(path)
    try:
        if _from_file(text) == (LayerSetting(path, Policy.PUBLISH),):
            return ""
    except UnicodeEncodeError:
        return "the name is not UTF-8"
    except (configparser.Error, ValueError):
        pass  # for one of the reasons below
    if os.pathsep in text or len(text.splitlines()) > 1:
        return f"{os.pathsep!r} and line breaks separate the stores of a list"
    if text != text.strip():
        return "a blank at the end is not read"
    return f"the last word, {text.split()[-1]}, is read as a policy"


def _from_file(text: str) -> tuple[LayerSetting | RemoteSetting, ...]:
    """Return the stores that ``text`` names after pip has written it to a file and read it."""
    text.encode("utf-8")
    written = io.StringIO(newline=None)  # a file translates \r, too
    parser = configparser.RawConfigParser()
    parser["x"] = {"dir": text}
    parser.write(written)
    again = configparser.RawConfigParser()
    again.read_string(written.getvalue())
    return to_layers(again["x"]["dir"].strip())


def to_prefixes(text: str) -> tuple[str, ...]:
    """Return the URL prefixes and absolute paths in ``text``."""
    for prefix in text.split():
        is_path = Path(prefix).is_absolute() and "\0" not in prefix
        if not (urlsplit(prefix).scheme if "://" in prefix else is_path):
            raise ValueError(prefix)
    return tuple(text.split())


def to_file(text: str) -> Path:
    """Return the absolute path in ``text``; a "~" at its beginning is a home directory."""
    path = Path(os.path.expanduser(text))  # ValueError for an account like "~a\0b"
    if not path.is_absolute() or "\0" in text:
        raise ValueError(text)
    return path


def number_to(most: int) -> Callable[[str], int]:
    """Return the parser of a setting that takes a number from 1 to ``most``."""

    def parse(text: str) -> int:
        if not text.isdecimal() or len(text) > len(str(most)) or not 1 <= int(text) <= most:
            raise ValueError(text)
        return int(text)

    return parse


def to_publishers(text: str) -> tuple[str, ...]:
    """Return the accounts and groups in ``text``; none for "owner"."""
    return () if text.lower() == "owner" else tuple(text.split())


@dataclass(frozen=True)
class OneOf:
    """The parser of a setting that takes one word of ``values``, in any case.

    ``offered``: the words that completion offers.
    """

    values: Mapping[str, Any]
    offered: tuple[str, ...]

    def __call__(self, text: str) -> Any:
        """Return the value that ``text`` stands for."""
        return self.values[text.lower()]


def one_of(values: Mapping[str, Any], *offered: str) -> OneOf:
    """Return the parser for ``values``; ``offered``: all words without any."""
    return OneOf(values, offered or tuple(values))
