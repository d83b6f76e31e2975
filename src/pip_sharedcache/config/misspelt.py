"""Sections, options and variables that are most likely settings of pip-sharedcache, misspelt.

pip and pip-sharedcache both ignore them, so the user would wait in vain for their effect.
"""

from __future__ import annotations

import configparser
import re
from collections.abc import Iterable, Iterator, Sequence

#: A section of pip is "global" or a command of pip; none of these is near the name.
_NEAR = 0.8
#: A variable that has one letter more or less than ours, or another one.
_ALMOST = 0.93
_PREFIX = "PIP_"
#: Names, without other characters than letters, that users expect a setting to have.
_OTHER_NAMES = {"directory": "dir", "directories": "dir", "path": "dir", "store": "dir"}
#: The sections in which pip looks for the options of commands that use a store.
_OF_PIP = frozenset({"global", "install", "download", "wheel", "lock"})


def in_file(
    parser: configparser.RawConfigParser, section: str, path: object, known: Sequence[str]
) -> Iterator[str]:
    """Yield a sentence on each section and option in the file ``path`` that is misspelt.

    ``section``: the name of our section. ``known``: the names of the settings.
    """
    for other in parser.sections():
        if other == section:
            continue
        if _is_near(other, section):
            yield f"Section [{other}] of {path} is ignored; hint: write [{section}]"
            continue
        for option in parser.options(other):
            name = _setting_in(option, section, known)
            if other in _OF_PIP and (bare := _option_in(option, section)):
                name = " = ".join(filter(None, bare))
            if name:
                yield (
                    f"Option {option} in section [{other}] of {path} is ignored; "
                    f"hint: write {name} in section [{section}]"
                )


def in_environment(
    names: Iterable[str], section: str, prefix: str, known: Sequence[str]
) -> Iterator[str]:
    """Yield a sentence on each variable in ``names`` that is misspelt.

    ``prefix``: the beginning of our variables. ``known``: the names of the settings.
    """
    for name in names:
        if not name.startswith(_PREFIX) or name.startswith(prefix):
            continue
        rest = name[len(_PREFIX) :]
        setting, value = _option_in(rest, section) or (_setting_in(rest, section, known), "")
        if setting:
            right = "=".join(filter(None, (prefix + setting.replace("-", "_").upper(), value)))
            yield f"Variable {name} is ignored; hint: write {right}"


def meant(name: str, source: str, section: str, prefix: str, known: Sequence[str]) -> str:
    """Return the hint for the unknown setting ``name`` of our own section; "" without a guess.

    ``source``: where it was read. The other arguments are as for ``in_environment``.
    """
    import difflib

    letters = _letters(name)
    letters = letters[len(section) :] if letters.startswith(section) else letters
    by_letters = {**{_letters(one): one for one in known}, **_OTHER_NAMES}
    near = difflib.get_close_matches(letters, by_letters, 1, _NEAR) if letters else []
    if not near:
        return ""
    setting = by_letters[near[0]]
    if source.startswith("environment variable "):
        return f"; hint: write {prefix}{setting.replace('-', '_').upper()}"
    return f"; hint: write {setting}"


def _option_in(name: str, section: str) -> tuple[str, str] | None:
    """Return the setting that ``name`` means, with its value or ""; None for another name.

    ``name``: that of an option without prefix: --offline or --no-sharedcache. pip reads its own
    options in this form from variables and configuration files.
    """
    letters = _letters(name)
    if letters == "offline":
        return "offline", ""
    return ("dir", "none") if letters == f"no{section}" else None


def _setting_in(name: str, section: str, known: Sequence[str]) -> str:
    """Return the setting that ``name`` means, as in "shared_cache.link-mode"; "" for none.

    ``known``: the names of the settings, which are also found without a separator before them.
    """
    # With a separator in front of the setting: PIP_SHAREDCACHED may belong to another program.
    pattern = rf"{'[-_. ]?'.join(section)}[-_. ](.*)"
    found = re.fullmatch(pattern, name, re.IGNORECASE)
    if found:
        return re.sub(r"[_. ]", "-", found[1]).lower()
    letters = _letters(name)
    if len(letters) <= len(section) or letters[0] != section[0]:
        return ""  # as nearly all: difflib need not be imported
    meant = {section + _letters(one): one for one in known}
    if letters in meant:
        return meant[letters]
    import difflib

    near = difflib.get_close_matches(letters, meant, 1, _ALMOST)
    return meant[near[0]] if near else ""


def _letters(name: str) -> str:
    return re.sub(r"[^a-z]", "", name.lower())


def _is_near(other: str, section: str) -> bool:
    letters = _letters(other)
    letters = letters[3:] if letters.startswith("pip") else letters
    if letters == section:
        return True
    if len(letters) < len(section) - 3:
        return False  # as all of pip's own sections: difflib need not be imported
    import difflib

    return difflib.SequenceMatcher(None, letters, section).ratio() >= _NEAR
