"""What the result of a build depends on besides its source, as far as that can be known.

Every environment variable may matter to some build backend: WRAPT_INSTALL_EXTENSIONS=false makes
another wheel of wrapt. So all count but those that are known not to. A build that is not shared
costs its time; a wrong one that is shared costs everybody theirs.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sysconfig
from collections.abc import Iterable, Mapping
from contextlib import suppress
from fnmatch import fnmatchcase
from typing import Any

#: Variables that make no other wheel.
_HARMLESS = (
    # Who somebody is, where they are, and in which session.
    *("HOME", "USER", "USERNAME", "LOGNAME", "MAIL*", "PWD", "OLDPWD", "SHELL", "SHLVL", "_"),
    *("HOSTNAME", "HOSTTYPE", "OSTYPE", "MACHTYPE", "TMP", "TEMP", "TMPDIR", "TEMPDIR"),
    *("SUDO_*", "DOAS_USER", "PKEXEC_UID", "SSH_*", "KRB5*", "GPG_*", "XDG_*", "DBUS_*"),
    *("INVOCATION_ID", "JOURNAL_STREAM", "SYSTEMD_*", "MANAGERPID", "NOTIFY_SOCKET"),
    *("MEMORY_PRESSURE_*", "WSL*"),
    # What it looks like there.
    *("DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "SESSION_*", "DESKTOP_*", "GNOME_*", "KDE_*"),
    *(
        "GTK_MODULES",
        "GTK_THEME",
        "GTK_IM_MODULE",
        "QT_QPA_*",
        "QT_IM_MODULE*",
        "QT_ACCESSIBILITY",
        "GDM*",
        "WINDOWID",
    ),
    *("WINDOWPATH", "STY", "TMUX*", "TERM", "TERM_*"),
    *("TERMINAL*", "COLORTERM", "VTE_*", "KONSOLE_*", "ITERM_*", "COLUMNS", "LINES", "NO_COLOR"),
    *("FORCE_COLOR", "CLICOLOR*", "LS_COLORS", "LSCOLORS", "LS_OPTIONS", "GREP_COLOR*", "TZ"),
    *("LANG", "LANGUAGE", "LC_*", "PS1", "PS2", "PS3", "PS4", "PROMPT*", "HIST*", "INPUTRC"),
    *("EDITOR", "VISUAL", "PAGER", "GIT_EDITOR", "GIT_PAGER", "LESS*", "MANPATH", "INFOPATH"),
    *("BROWSER", "FCEDIT", "VSCODE_*", "EMACS", "INSIDE_EMACS", "VIM*", "NVIM*", "JUPYTER_*"),
    *("JPY_*", "IPYTHON*", "NVM_*"),
    # Modules show in the variables that they set; jobs have numbers of their own.
    *("LMOD*", "__LMOD*", "_ModuleTable*", "_LMFILES_*", "LOADEDMODULES*", "MODULEPATH*"),
    *("MODULESHOME", "MODULES_*", "__MODULES*", "ENV", "BASH_ENV", "BASH_FUNC_*"),
    *("SLURM*", "SRUN_*", "PBS_*", "SGE_*", "LSB_*", "LSF_*", "JOB_ID", "OMP_NUM_THREADS"),
    *("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"),
    # How the network is reached, and with which secrets: these are not to be guessed from a key.
    *("*_proxy", "*_PROXY", "SSL_CERT_*", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NETRC"),
    *("*TOKEN*", "*PASSWORD*", "*PASSWD*", "*SECRET*", "*CREDENTIAL*", "*_KEY", "*_KEY_ID"),
    # Which environment is active: what is installed is in the wheel's tags and the tools.
    *("PATH", "VIRTUAL_ENV", "VIRTUAL_ENV_*", "CONDA_DEFAULT_ENV", "CONDA_PROMPT_MODIFIER"),
    *("CONDA_SHLVL", "CONDA_EXE", "CONDA_PYTHON_EXE", "CONDA_PREFIX_[0-9]*", "_CE_*"),
    *("PYENV_*", "PYTHONSTARTUP", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "PYTHONUTF8"),
    *("PYTHONIOENCODING", "PYTHONWARNINGS", "PYTHONHASHSEED", "PYTHONFAULTHANDLER"),
    *("PYTHONDEVMODE", "PYTHONNODEBUGRANGES", "PYTHONPYCACHEPREFIX", "PYTHONNOUSERSITE"),
    # pip's own: what of it matters counts as options do. Ours.
    *("PIP_*", "_PIP_*"),
)

#: Programs that builds run, each as it is found by PATH.
_TOOLS = (
    *("cc", "c++", "gcc", "g++", "clang", "clang++", "gfortran", "flang", "ld", "ar", "as"),
    *("make", "cmake", "ninja", "meson", "pkg-config", "pkgconf", "swig", "rustc", "cargo", "go"),
    *("node", "nvcc", "hipcc", "icx", "icpx", "ifx", "mpicc", "mpicxx", "mpifort", "cython"),
    *("h5cc", "h5pcc", "qmake", "protoc", "thrift", "flex", "bison", "nasm", "yasm", "perl"),
    *("javac", "ghc", "zig", "autoconf", "automake", "libtool", "m4", "re2c", "bazel", "scons"),
)
#: And those that tell where a library is: pg_config, sdl2-config.
_TELLING = ("-config", "_config")

#: Files in a home that compilers and backends read, relative to it.
_FILES = (".pydistutils.cfg", ".numpy-site.cfg", ".cargo/config.toml", ".cargo/config")

#: A line by which a file of requirements or constraints names another one (pip's req_file).
_NAMED = re.compile(
    r"^\s*(?:-c|-r|--constraint|--requirement)[\s=]*[\"\']?([^\s\"\']+)", re.MULTILINE
)

#: What an interpreter was built with, and hands on to what is built for it.
_OF_PYTHON = ("CC", "CXX", "CFLAGS", "OPT", "CCSHARED", "LDSHARED", "LDFLAGS", "SOABI")


def is_harmless(variable: str) -> bool:
    """Whether an environment variable of this name makes no other wheel."""
    return any(fnmatchcase(variable, pattern) for pattern in _HARMLESS)


def variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Those of ``environ`` that a build may depend on."""
    return {name: value for name, value in environ.items() if not is_harmless(name)}


def surroundings(environ: Mapping[str, str]) -> dict[str, Any]:
    """What a build that is run with ``environ`` depends on, as JSON values: its variables, the
    tools that PATH leads to, the user's own configuration of them, and of the interpreter."""
    home = environ.get("HOME", "")
    path = environ.get("PATH", os.defpath)
    found = {tool: shutil.which(tool, path=path) for tool in (*_TOOLS, *_telling(path))}
    return {
        "variables": variables(environ),
        "tools": {tool: os.path.realpath(place) for tool, place in found.items() if place},
        "files": dict(zip(_FILES, contents(os.path.join(home, file) for file in _FILES))),
        "python": {name: sysconfig.get_config_var(name) for name in _OF_PYTHON},
    }


def _telling(path: str) -> list[str]:
    """Programs in the directories of ``path`` that tell where a library is."""
    names: set[str] = set()
    for directory in path.split(os.pathsep):
        with suppress(OSError):  # it is not there, or not for us to read: nothing is run from it
            names.update(name for name in os.listdir(directory) if name.endswith(_TELLING))
    return sorted(names)


def contents(names: Iterable[str]) -> list[str]:
    """For each file its sha256 and those of the files of requirements that it names, or what it is
    called where it cannot be read: a URL, say; "" where nothing is there."""
    return [_content(name, set()) for name in names]


def _content(name: str, seen: set[str]) -> str:
    seen.add(name)
    try:
        with open(name, "rb") as file:
            data = file.read()
        parts = [hashlib.sha256(data).hexdigest()]
        for match in _NAMED.finditer(data.decode("utf-8", "replace")):
            named = match[1] if "://" in match[1] else os.path.join(os.path.dirname(name), match[1])
            if named not in seen:
                parts.append(_content(named, seen))
        return " ".join(parts)
    except FileNotFoundError:
        return name if "://" in name else ""
    except (OSError, ValueError):
        return name
