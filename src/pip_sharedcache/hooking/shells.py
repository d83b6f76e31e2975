"""The shell function `pip` for people's profiles: the pip that PATH leads to at that moment, run
through the shared store."""

from __future__ import annotations

import base64
import json
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_LAUNCH = Path(__file__).with_name("_launch.py")
_NAMES = ("pip", "pip3")

# Where pip-sharedcache is gone, a shell that is still running finds pip as before.
_POSIX = (
    '{name}() {{ if [ -x {python} ]; then {command} {name} "$@"; else command {name} "$@"; fi; }}'
)
_FISH = (
    "function {name} --wraps {name}; if test -x {python}; {command} {name} $argv; "
    "else; command {name} $argv; end; end"
)
_CSH = "alias {name} '{command} {name} \\!*'"

#: What is printed for each shell: one line a command.
_FORMS = {
    **dict.fromkeys(("sh", "bash", "zsh"), _POSIX),
    "fish": _FISH,
    **dict.fromkeys(("csh", "tcsh"), _CSH),
}
SHELLS = tuple(_FORMS)


def function(shell: str, told: Mapping[str, Any]) -> str:
    """What ``shell`` is to evaluate; ``told`` as interception.carried has it. Evaluated again it
    changes nothing."""
    packed = base64.b64encode(json.dumps(told).encode()).decode()
    quote = _csh_word if "csh" in shell else shlex.quote
    words = [quote(word) for word in (sys.executable, "-I", "-S", str(_LAUNCH), packed)]
    form, command = _FORMS[shell], " ".join(words)
    lines = [form.format(name=name, python=words[0], command=command) for name in _NAMES]
    return "".join(f"{line}\n" for line in lines)


def _csh_word(word: str) -> str:
    """``word`` for an alias of csh's, which is quoted as a whole and read again when it is run."""
    plain = all(character.isalnum() or character in "/._-+=@%,:" for character in word)
    return word if plain else '"' + word.replace("'", "'\\''").replace("!", "\\!") + '"'
