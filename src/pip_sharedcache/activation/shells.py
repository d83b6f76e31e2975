"""The shell function `pip`, which runs the present pip of PATH through the shared store.

For users' profiles, and for the scripts that conda runs on activation.
"""

from __future__ import annotations

import base64
import json
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_LAUNCH = Path(__file__).with_name("_launch.py")
NAMES = ("pip", "pip3")

#: A program for sh, where pip-sharedcache is gone: it ends with status 2 where the user allows no
#: request, by the variable or in pip's files. $0 is the name of pip. Not "[": see ``guarded``.
_CHECK = (
    'case " $* " in *" install "*|*" download "*|*" wheel "*|*" lock "*|*" index "*|*" search "*) '
    'case "${PIP_SHAREDCACHE_OFFLINE:-$("$0" config get sharedcache.offline 2>/dev/null)}" in '
    '""|0|n|N|no|No|NO|false|False|FALSE|off|Off|OFF) ;; *) echo "ERROR: No request is made, by '
    'the setting offline: pip-sharedcache is missing" >&2; exit 2;; esac;; esac'
)
# Test for both files: a shell that runs longer than pip-sharedcache exists must still find pip.
_POSIX = (
    '{name}() {{ if [ -x {python} ] && [ -r {launch} ]; then {command} {name} "$@"; '
    'elif sh -c {check} {name} "$@"; then command {name} "$@"; else return 2; fi; }}'
)
_FISH = (
    "function {name} --wraps {name}; if test -x {python}; and test -r {launch}; "
    "{command} {name} $argv; else if sh -c {check} {name} $argv; command {name} $argv; "
    "else; return 2; end; end"
)


def _csh_word(word: str) -> str:
    return "'" + word.replace("'", "'\\''").replace("!", "\\!") + "'"


#: The line that defines the function, for each kind of shell.
_FORMS = {"sh": _POSIX, "fish": _FISH}
KINDS = (*_FORMS, "csh")
#: The shells of `shell-init`, and the kind of each.
SHELLS = {**dict.fromkeys(("sh", "bash", "zsh"), "sh"), "fish": "fish", "csh": "csh", "tcsh": "csh"}


def command(told: Mapping[str, Any]) -> list[str]:
    """Return the command that runs a pip through the store; pip's name and arguments follow it.

    ``told``: the data of pip_adapter.bootstrap.carried, and ``runner``, the path of the runner.
    """
    packed = base64.b64encode(json.dumps(told).encode()).decode()
    return [sys.executable, "-I", "-S", str(_LAUNCH), packed]


def definition(kind: str, name: str, told: Mapping[str, Any]) -> str:
    """Return the line with which shells of ``kind`` run ``name`` through the store."""
    if kind == "csh":
        # Quoted twice: csh reads the words once with the alias, and again when the alias runs.
        *words, last = guarded(name, told)
        program = " ".join([*words[:2], _csh_word(words[2]), last])
        return f"alias {name} {_csh_word(program)[:-1]} \\!*'"
    words = [shlex.quote(word) for word in command(told)]
    python, launch = words[0], shlex.quote(str(_LAUNCH))
    check, line = shlex.quote(_CHECK), " ".join(words)
    return _FORMS[kind].format(name=name, python=python, launch=launch, command=line, check=check)


def guarded(name: str, told: Mapping[str, Any], condition: str = "") -> list[str]:
    """Return a command that does the same, for shells with aliases only; arguments follow it.

    ``condition``: a shell test that comes first, with "&&" behind it; or "".
    """
    python, *_, launch, _ = words = [shlex.quote(word) for word in command(told)]
    # Not "[": Environment Modules do not quote it when they pass an alias to a C shell.
    asked = f"{condition}test -x {python} && test -r {launch}"
    ours = f'if {asked}; then exec {" ".join(words)} {name} "$@"; fi'
    return ["sh", "-c", f'{ours}; {_CHECK}; exec {name} "$@"', name]


def function(shell: str, told: Mapping[str, Any]) -> str:
    """Return the lines that ``shell`` evaluates, one for each command.

    A second evaluation changes nothing.
    """
    kind = SHELLS[shell]
    lines = [definition(kind, name, told) for name in NAMES]
    if kind == "sh":  # the shell would expand an alias in place of the name in the definition
        lines[:0] = [f"unalias {name} 2>/dev/null || :" for name in NAMES]
    return "".join(f"{line}\n" for line in lines)
