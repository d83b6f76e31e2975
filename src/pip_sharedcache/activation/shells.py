"""The shell function `pip`: the pip that PATH leads to at that moment, run through the shared
store; for people's profiles, and for what conda runs on activation."""

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

# Where pip-sharedcache is gone, a shell that is still running finds pip as before.
_POSIX = (
    '{name}() {{ if [ -x {python} ] && [ -r {launch} ]; then {command} {name} "$@"; '
    'else command {name} "$@"; fi; }}'
)
_FISH = (
    "function {name} --wraps {name}; if test -x {python}; and test -r {launch}; "
    "{command} {name} $argv; else; command {name} $argv; end; end"
)


def _csh_word(word: str) -> str:
    return "'" + word.replace("'", "'\\''").replace("!", "\\!") + "'"


#: For each kind of shell: one line that defines the function.
_FORMS = {"sh": _POSIX, "fish": _FISH}
KINDS = (*_FORMS, "csh")
#: The shells that `shell-init` is for, and of which kind each is.
SHELLS = {**dict.fromkeys(("sh", "bash", "zsh"), "sh"), "fish": "fish", "csh": "csh", "tcsh": "csh"}


def command(told: Mapping[str, Any]) -> list[str]:
    """What runs a pip through the store: its name and its arguments come after that. ``told`` as
    pip_adapter.bootstrap.carried has it."""
    packed = base64.b64encode(json.dumps(told).encode()).decode()
    return [sys.executable, "-I", "-S", str(_LAUNCH), packed]


def definition(kind: str, name: str, told: Mapping[str, Any]) -> str:
    """What a shell of that ``kind`` is to evaluate so that ``name`` runs through the store."""
    if kind == "csh":
        # Quoted for when the alias is read, and again for when it is run.
        *words, last = guarded(name, told)
        program = " ".join([*words[:2], _csh_word(words[2]), last])
        return f"alias {name} {_csh_word(program)[:-1]} \\!*'"
    words = [shlex.quote(word) for word in command(told)]
    python, launch = words[0], shlex.quote(str(_LAUNCH))
    return _FORMS[kind].format(name=name, python=python, launch=launch, command=" ".join(words))


def guarded(name: str, told: Mapping[str, Any], condition: str = "") -> list[str]:
    """The same as a program for shells that have aliases only; the arguments come after it.
    ``condition``: what else is asked first, as the shell has it."""
    python, *_, launch, _ = words = [shlex.quote(word) for word in command(told)]
    # Not "[": Environment Modules do not quote it where they hand an alias on to a C shell.
    asked = f"{condition}test -x {python} && test -r {launch}"
    ours = f'if {asked}; then exec {" ".join(words)} {name} "$@"; fi'
    return ["sh", "-c", f'{ours}; exec {name} "$@"', name]


def function(shell: str, told: Mapping[str, Any]) -> str:
    """What ``shell`` is to evaluate, a line for each command. Evaluated again it changes
    nothing."""
    kind = SHELLS[shell]
    lines = [definition(kind, name, told) for name in NAMES]
    if kind == "sh":  # an alias would be read in place of the name that is defined
        lines[:0] = [f"unalias {name} 2>/dev/null || :" for name in NAMES]
    return "".join(f"{line}\n" for line in lines)
