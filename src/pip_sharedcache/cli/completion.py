"""Completion in the shell, for pip's commands and for the store commands.

The script that `store completion` prints works as pip's own script does: it runs the program with
PIP_AUTO_COMPLETE set, the words of the line in COMP_WORDS, and the index of the word at the cursor
in COMP_CWORD. The program prints the words that may stand at the cursor.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Mapping, Sequence

from pip_sharedcache import config
from pip_sharedcache.activation import SHELLS
from pip_sharedcache.cli.output import FINE, Output

HELP = "print a completion script for a shell"

_SCRIPTS = {
    "bash": """\
_pip_sharedcache_complete() {
    COMPREPLY=($(COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD PIP_AUTO_COMPLETE=1 \\
        "$1" 2>/dev/null))
}
complete -o default -F _pip_sharedcache_complete pip-sharedcache
""",
    "zsh": """\
_pip_sharedcache_complete() {
    local -a found
    found=($(COMP_WORDS="${words[*]}" COMP_CWORD=$((CURRENT - 1)) PIP_AUTO_COMPLETE=1 \\
        ${(Q)words[1]} 2>/dev/null))
    if (( $#found )); then compadd -a found; else _files; fi
}
compdef _pip_sharedcache_complete pip-sharedcache
""",
    "fish": """\
function _pip_sharedcache_complete
    set -lx COMP_WORDS (commandline -o)[1] (commandline -opc)[2..] (commandline -ct)
    set -lx COMP_CWORD (math (count $COMP_WORDS) - 1)
    set -lx PIP_AUTO_COMPLETE 1
    type -q $COMP_WORDS[1]; and $COMP_WORDS[1] 2>/dev/null | string split ' '
end
complete -c pip-sharedcache -a '(_pip_sharedcache_complete)'
""",
}
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
_NAMES = {"shell-init": tuple(SHELLS), "completion": tuple(_SCRIPTS)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command to ``parser``."""
    names = f"name the shell: {', '.join(_SCRIPTS)}"
    parser.add_argument("shell", choices=_SCRIPTS, metavar="SHELL", help=names)


def run(chosen: argparse.Namespace, output: Output) -> int:
    """Run the command, and return the exit status."""
    output.script(chosen.shell, _SCRIPTS[chosen.shell])
    return FINE


def words_of_line(environ: Mapping[str, str]) -> tuple[list[str], str] | None:
    """Return the words before the cursor, without the program, and the word at the cursor or "".

    None where COMP_WORDS is missing, or COMP_CWORD is missing or not a number.
    """
    try:
        words = environ["COMP_WORDS"].split()
        place = int(environ["COMP_CWORD"])
    except (KeyError, ValueError):
        return None
    return words[1:place], words[place] if place < len(words) else ""


def of_store(
    words: Sequence[str], current: str, commands: Mapping[str, argparse.ArgumentParser]
) -> list[str]:
    """Return the completions of ``current`` behind ``store`` and ``words``."""
    chosen = next((word for word in words if word in commands), None)
    if chosen is None:
        return _beginning(current, commands)
    if current.startswith("-"):
        return _beginning(current, _OPTION.findall(commands[chosen].format_help()))
    return _beginning(current, _NAMES.get(chosen, ()))


def beside_pip(words: Sequence[str], current: str) -> list[str]:
    """Return pip-sharedcache's completions of ``current`` behind ``words``, beside pip's own."""
    if current.startswith("-"):
        settings = [f"--sharedcache-{name}=" for name in config.NAMES]
        return _beginning(current, ["--no-sharedcache", "--offline", *settings])
    return _beginning(current, ["store"]) if not words else []


def _beginning(current: str, among: Iterable[str]) -> list[str]:
    return sorted({one for one in among if one.startswith(current)})
