"""Runs the pip that PATH leads to, through the shared store: what the shell's function `pip` does.

    python -I -S _launch.py TOLD NAME [ARGUMENT ...]

TOLD is what the runner is told (pip_adapter.bootstrap), as JSON in base64. Whatever is found that
is no script of pip's, a shim of some other tool, say, is run as it is. Imports nothing of the
project.
"""

import base64
import errno
import os
import sys

_RUNNER = os.path.join("pip_adapter", "__runner__.py")
_WINDOWS = os.pathsep == ";"
_SHELL = b"#!/bin/sh\n'''exec' "  # how pip begins a script whose interpreter has a long path


def found(name):  # type: ignore[no-untyped-def]
    """The program that PATH leads to; None where there is none."""
    name += ".exe" if _WINDOWS else ""
    for directory in os.environ.get("PATH", os.defpath).split(os.pathsep):
        path = os.path.join(directory or os.curdir, name)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return None


def interpreter_of(path):  # type: ignore[no-untyped-def]
    """The interpreter of pip's script ``path``, and its options; [] where it is none."""
    if _WINDOWS:  # pip is a program of its own there, near the interpreter that it starts
        scripts = os.path.dirname(path)
        places = [os.path.join(scripts, "python.exe"), os.path.join(scripts, "..", "python.exe")]
        return [place for place in places if os.path.isfile(place)][:1]
    try:
        with open(path, "rb") as file:
            text = file.read(4096)
    except OSError:
        return []
    if b"pip._internal" not in text:
        return []
    if text.startswith(_SHELL):
        line = text[len(_SHELL) :].partition(b' "$0"')[0]
        words = [line.strip(b'"')]
    else:
        words = text.partition(b"\n")[0][2:].split()
    command = [os.fsdecode(word) for word in words]
    return command if command and os.access(command[0], os.X_OK) else []


def main():  # type: ignore[no-untyped-def]
    """Become that pip."""
    told, name, *arguments = sys.argv[1:]
    path = found(name)  # type: ignore[no-untyped-call]
    if path is None:
        os.write(2, f"{name}: command not found\n".encode())
        sys.exit(127)
    runner = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), _RUNNER)
    command = interpreter_of(path)  # type: ignore[no-untyped-call]
    # What was cut off to nothing would do nothing, and say so to nobody.
    if command and os.path.isfile(runner) and os.path.getsize(runner):
        os.environ["_PIP_SHAREDCACHE_RUNNER"] = base64.b64decode(told).decode()
        become([*command, runner, *arguments])  # type: ignore[no-untyped-call]
    become([path, *arguments])  # type: ignore[no-untyped-call]


def become(command):  # type: ignore[no-untyped-def]
    """Run ``command`` instead of this program."""
    if _WINDOWS:  # execv returns to the shell at once there
        import subprocess

        sys.exit(subprocess.call(command))
    try:
        os.execv(command[0], command)
    except OSError as error:
        if error.errno == errno.ENOEXEC:  # a script without its first line, which is sh's
            os.execv("/bin/sh", ["/bin/sh", *command])
        os.write(2, f"{command[0]}: {error.strerror}\n".encode())
        sys.exit(126)


if __name__ == "__main__":
    main()  # type: ignore[no-untyped-call]
