"""The launcher of the shell function `pip`: it runs the pip of PATH through the shared store.

    python -I -S _launch.py TOLD NAME [ARGUMENT ...]

TOLD is the data for the runner (pip_adapter.bootstrap), as JSON in base64. A program that is not
pip's own script, such as a shim of another tool, runs unchanged. Imports nothing of the project.
"""

import _signal as signal  # type: ignore[import-not-found]  # signal imports enum first
import os


def quiet_exit(number, frame):  # type: ignore[no-untyped-def]
    """End this process after Ctrl-C, as pip_sharedcache.interrupts does."""
    os._exit(130)


# The program that replaces this one has its own handler; on Windows, this one waits for the other.
if os.pathsep != ";" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, quiet_exit)

import base64  # noqa: E402
import errno  # noqa: E402
import sys  # noqa: E402

_RUNNER = os.path.join("pip_adapter", "__runner__.py")
_WINDOWS = os.pathsep == ";"
_SHELL = b"#!/bin/sh\n'''exec' "  # pip begins a script like this if its interpreter's path is long


def found(name):  # type: ignore[no-untyped-def]
    """Return the path of the program ``name`` in PATH; None where PATH has no such program."""
    name += ".exe" if _WINDOWS else ""
    for directory in os.environ.get("PATH", os.defpath).split(os.pathsep):
        path = os.path.join(directory or os.curdir, name)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return None


def interpreter_of(path):  # type: ignore[no-untyped-def]
    """Return the interpreter of pip's script ``path``, and its options; [] for another program."""
    if _WINDOWS:  # pip is an .exe file on Windows, near the interpreter that it starts
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
    """Run the pip of PATH in place of this program."""
    told, name, *arguments = sys.argv[1:]
    path = found(name)  # type: ignore[no-untyped-call]
    if path is None:
        os.write(2, f"{name}: command not found\n".encode())
        sys.exit(127)
    runner = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), _RUNNER)
    command = interpreter_of(path)  # type: ignore[no-untyped-call]
    # An empty runner would do nothing, and print nothing: then run pip itself.
    if command and os.path.isfile(runner) and os.path.getsize(runner):
        os.environ["_PIP_SHAREDCACHE_RUNNER"] = base64.b64decode(told).decode()
        become([*command, runner, *arguments])  # type: ignore[no-untyped-call]
    if command:
        end_if_offline(f"{runner} is missing")  # type: ignore[no-untyped-call]
    become([path, *arguments])  # type: ignore[no-untyped-call]


def end_if_offline(why):  # type: ignore[no-untyped-def]
    """End this process where the user allows no request: pip by itself would make some."""
    import os
    import sys

    commands = ("install", "download", "wheel", "lock", "index", "search")
    if any(name in sys.argv for name in commands) and is_offline():  # type: ignore[no-untyped-call]
        line = "ERROR: No request is made, by the setting offline: " + why + "\n"
        os.write(2, line.encode("utf-8", "backslashreplace"))
        sys.exit(2)


def is_offline():  # type: ignore[no-untyped-def]
    """Return whether a place of settings allows no request, or has a value that cannot be read.

    The same as config.offline_setting, where that cannot be imported. The files are those of pip
    on Linux and macOS. The runner, the hook and the launcher have this function, since each can be
    all that is left of pip-sharedcache.
    """
    import configparser
    import os
    import sys

    names = ("_PIP_SHAREDCACHE_OPTION_OFFLINE", "PIP_SHAREDCACHE_OFFLINE")
    values = [os.environ.get(name, "") for name in names]
    end = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    if "--offline" in sys.argv[:end]:
        return True
    named = os.environ.get("PIP_CONFIG_FILE", "")
    home = os.path.expanduser("~")
    own = os.environ.get("XDG_CONFIG_HOME") or os.path.join(home, ".config")
    mac = os.path.join("Library", "Application Support", "pip", "pip.conf")
    files = [os.path.join(sys.prefix, "pip.conf"), os.path.join(own, "pip", "pip.conf")]
    files += [os.path.join(home, mac), os.path.join(home, ".pip", "pip.conf")]
    files += ["/etc/pip.conf", "/etc/xdg/pip/pip.conf", os.path.join("/", mac)]
    for file in [named] * bool(named) + ([] if named == os.devnull else files):
        parser = configparser.RawConfigParser()
        try:
            parser.read(file, encoding="utf-8")
            values.append(parser.get("sharedcache", "offline", fallback="") or "")
        except (configparser.Error, ValueError):
            continue  # pip stops there, too
    value = next(filter(str.strip, values), "no").strip().lower()
    return value not in ("0", "false", "no", "n", "off")


def become(command):  # type: ignore[no-untyped-def]
    """Run ``command`` instead of this program."""
    if _WINDOWS:  # on Windows, the shell does not wait for the program that execv starts
        import subprocess

        sys.exit(subprocess.call(command))
    try:
        os.execv(command[0], command)
    except OSError as error:
        if error.errno == errno.ENOEXEC:  # a script without a #! line: shells give it to sh
            os.execv("/bin/sh", ["/bin/sh", *command])
        os.write(2, f"{command[0]}: {error.strerror}\n".encode())
        sys.exit(126)


if __name__ == "__main__":
    main()  # type: ignore[no-untyped-call]
