"""Completion in the shell, for pip's commands and for the store commands.

The script that `store completion` prints works as pip's own script does: it runs the program with
PIP_AUTO_COMPLETE set, the words of the line in COMP_WORDS, and the index of the word at the cursor
in COMP_CWORD. The program prints the words that may stand at the cursor. docs/completions has the
same scripts as files, which the wheel installs where shells look for them.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from pip_sharedcache import config
from pip_sharedcache.activation import SHELLS
from pip_sharedcache.cli.output import FINE, Output

HELP = "print a completion script for a shell"

SCRIPTS = {
    "bash": """\
_pip_sharedcache_complete() {
    # Not COMPREPLY=($(...)): that would expand a * among the words.
    read -r -d '' -a COMPREPLY < <(COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD \\
        PIP_AUTO_COMPLETE=1 "$1" 2>/dev/null)
}
complete -o default -F _pip_sharedcache_complete pip-sharedcache
""",
    "zsh": """\
#compdef pip-sharedcache
_pip_sharedcache_complete() {
    local -a found
    found=($(COMP_WORDS="${words[*]}" COMP_CWORD=$((CURRENT - 1)) PIP_AUTO_COMPLETE=1 \\
        ${(Q)words[1]} 2>/dev/null))
    if (( $#found )); then compadd -a found; else _files; fi
}
if [[ $funcstack[1] = _pip-sharedcache ]]; then
    _pip_sharedcache_complete "$@"  # zsh has loaded this as a file of $fpath
else
    compdef _pip_sharedcache_complete pip-sharedcache
fi
""",
    "fish": """\
function _pip_sharedcache_complete
    set -lx COMP_WORDS (commandline -o)[1] (commandline -opc)[2..] (commandline -ct)
    set -lx COMP_CWORD (math (count $COMP_WORDS) - 1)
    set -lx PIP_AUTO_COMPLETE 1
    set -l found (type -q $COMP_WORDS[1]; and $COMP_WORDS[1] 2>/dev/null | string split ' ')
    if test (count $found) -gt 0
        printf '%s\\n' $found
    else
        set -l option (string match -r -- '^--[^=]*=' (commandline -ct); or echo '')
        set -l files (__fish_complete_path (string replace -- $option '' (commandline -ct)))
        test (count $files) -gt 0; and printf '%s\\n' $option$files
    end
end
complete -c pip-sharedcache -f -a '(_pip_sharedcache_complete)'
""",
}
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
_PLAIN = re.compile(r"[A-Za-z0-9_.,:=/@+-]+")
_NAMES = {"shell-init": tuple(SHELLS), "completion": tuple(SCRIPTS)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command to ``parser``."""
    names = f"name the shell: {', '.join(SCRIPTS)}"
    parser.add_argument("shell", choices=SCRIPTS, metavar="SHELL", help=names)


def run(chosen: argparse.Namespace, output: Output) -> int:
    """Run the command, and return the exit status."""
    output.script(chosen.shell, SCRIPTS[chosen.shell])
    return FINE


@dataclass(frozen=True)
class Line:
    """A line that the user is typing.

    ``words``: those before the cursor, without the program.
    ``current``: the word at the cursor, or "".
    ``is_split``: whether the shell (bash) regards the text behind a "=" as a word of its own.
    """

    words: tuple[str, ...]
    current: str
    is_split: bool = False

    def show(self, found: Iterable[str]) -> list[str]:
        """Return the completions ``found`` of ``current`` as the shell expects them."""
        head = len(self.current.partition("=")[0]) + 1 if self.is_split else 0
        # bash puts the only completion on the line without quotes: nothing may be a command there.
        return [one[head:] for one in found if _PLAIN.fullmatch(one)]


def words_of_line(environ: Mapping[str, str]) -> Line | None:
    """Return the line that the shell gives; None where COMP_WORDS or COMP_CWORD is missing.

    None also where COMP_CWORD is not a number.
    """
    try:
        words = environ["COMP_WORDS"].split()
        place = int(environ["COMP_CWORD"])
    except (KeyError, ValueError):
        return None
    current = words[place] if place < len(words) else ""
    joined: list[str] = []
    for word in words[1:place]:
        if joined and (word == "=" or joined[-1].endswith("=")) and joined[-1].startswith("--"):
            joined[-1] += word
        else:
            joined.append(word)
    begins_value = current == "=" and joined[-1:] != [] and joined[-1].startswith("--")
    if begins_value or (joined and joined[-1].startswith("--") and joined[-1].endswith("=")):
        return Line(tuple(joined[:-1]), joined[-1] + current, is_split=True)
    return Line(tuple(joined), current)


def of_store(
    words: Sequence[str],
    current: str,
    commands: Mapping[str, argparse.ArgumentParser],
    offered: Mapping[str, Callable[[], Iterable[str]]],
) -> list[str]:
    """Return the completions of ``current`` behind ``store`` and ``words``.

    ``offered``: functions that return the values of an argument, by the name of the command and
    an option before it (``ban --lift``), of the command, or of the argument (``names``, ``group``).
    """
    chosen = next((word for word in words if word in commands), None)
    if chosen is None:
        return _beginning(current, commands)
    options = {name: one for one in commands[chosen]._actions for name in one.option_strings}
    name, head = _option_of(words, current)
    if name in options and options[name].nargs != 0:
        values = options[name].choices or offered.get(options[name].dest, tuple)()
        return _beginning(current, (f"{head}{one}" for one in values))
    if current.startswith("-"):
        return _beginning(current, _OPTION.findall(commands[chosen].format_help()))
    keys = [f"{chosen} {word}" for word in words]
    keys += [chosen, *(one.dest for one in commands[chosen]._actions if not one.option_strings)]
    if key := next((one for one in keys if one in offered), ""):
        return _beginning(current.lower(), offered[key]())
    return _beginning(current, _NAMES.get(chosen, ()))


def beside_pip(words: Sequence[str], current: str) -> list[str]:
    """Return pip-sharedcache's completions of ``current`` behind ``words``, beside pip's own."""
    if current.startswith("-") and "=" not in current:
        settings = [f"--sharedcache-{name}=" for name in config.NAMES]
        return _beginning(current, ["--no-sharedcache", "--offline", *settings])
    return _beginning(current, ["store"]) if not words or list(words) == ["help"] else []


def of_setting(words: Sequence[str], current: str) -> list[str]:
    """Return the completions of ``current``, where it is the value of one of our options."""
    name, head = _option_of(words, current)
    rows = (row for row in config.ROWS if name == f"--sharedcache-{row.name}")
    return [one for row in rows for one in _beginning(current, (head + v for v in row.choices))]


def _option_of(words: Sequence[str], current: str) -> tuple[str, str]:
    """Return the option whose value is at the cursor, and the beginning of ``current`` before it.

    ("", "") where the word at the cursor is no value of an option.
    """
    name, equals, _ = current.partition("=")
    if equals and name.startswith("--"):
        return name, f"{name}="
    last = words[-1] if words else ""
    return (last, "") if last.startswith("-") and not current.startswith("-") else ("", "")


def _beginning(current: str, among: Iterable[str]) -> list[str]:
    return sorted({one for one in among if one.startswith(current)})
