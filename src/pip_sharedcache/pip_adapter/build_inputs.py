"""The inputs of a build besides its source, as far as they can be known.

Every environment variable may affect some build backend: WRAPT_INSTALL_EXTENSIONS=false makes
another wheel of wrapt. So all variables count, except those that are known to be harmless. A build
that is not shared costs the time of one user; a wrong shared build costs the time of all users.
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

#: Variables that do not affect the wheel.
_HARMLESS = (
    # The user, the machine and the session.
    *("HOME", "USER", "USERNAME", "LOGNAME", "MAIL*", "PWD", "OLDPWD", "SHELL", "SHLVL", "_"),
    *("HOSTNAME", "HOSTTYPE", "OSTYPE", "MACHTYPE", "TMP", "TEMP", "TMPDIR", "TEMPDIR"),
    *("SUDO_*", "DOAS_USER", "PKEXEC_UID", "SSH_*", "KRB5*", "GPG_*", "XDG_*", "DBUS_*"),
    *("INVOCATION_ID", "JOURNAL_STREAM", "SYSTEMD_*", "MANAGERPID", "NOTIFY_SOCKET"),
    *("MEMORY_PRESSURE_*", "WSL*"),
    # The display and the terminal.
    *("DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "SESSION_*", "DESKTOP_*", "GNOME_*", "KDE_*"),
    *("GTK_MODULES", "GTK_THEME", "GTK_IM_MODULE", "QT_QPA_*", "QT_IM_MODULE*"),
    *("QT_ACCESSIBILITY", "GDM*", "WINDOWID", "WINDOWPATH", "STY", "TMUX*", "TERM", "TERM_*"),
    *("TERMINAL*", "COLORTERM", "VTE_*", "KONSOLE_*", "ITERM_*", "COLUMNS", "LINES", "NO_COLOR"),
    *("FORCE_COLOR", "CLICOLOR*", "LS_COLORS", "LSCOLORS", "LS_OPTIONS", "GREP_COLOR*", "TZ"),
    *("LANG", "LANGUAGE", "LC_*", "PS1", "PS2", "PS3", "PS4", "PROMPT*", "HIST*", "INPUTRC"),
    *("EDITOR", "VISUAL", "PAGER", "GIT_EDITOR", "GIT_PAGER", "LESS*", "MANPATH", "INFOPATH"),
    *("BROWSER", "FCEDIT", "VSCODE_*", "EMACS", "INSIDE_EMACS", "VIM*", "NVIM*", "JUPYTER_*"),
    *("JPY_*", "IPYTHON*", "NVM_*"),
    # Environment modules set other variables, which count; each batch job has another number.
    *("LMOD*", "__LMOD*", "_ModuleTable*", "_LMFILES_*", "LOADEDMODULES*", "MODULEPATH*"),
    *("MODULESHOME", "MODULES_*", "__MODULES*", "ENV", "BASH_ENV", "BASH_FUNC_*"),
    *("SLURM*", "SRUN_*", "PBS_*", "SGE_*", "LSB_*", "LSF_*", "JOB_ID", "OMP_NUM_THREADS"),
    *("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"),
    # Network access and secrets: a reader of a key must not be able to guess a secret.
    *("*_proxy", "*_PROXY", "SSL_CERT_*", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NETRC"),
    *("*TOKEN*", "*PASSWORD*", "*PASSWD*", "*SECRET*", "*CREDENTIAL*", "*_KEY", "*_KEY_ID"),
    # The client library of remote stores, and others of these services.
    *("AWS_*", "GOOGLE_*", "CLOUDSDK_*", "AZURE_*"),
    # The job of a CI service, and the cluster; but see _OF_SOURCE.
    *("GITHUB_*", "RUNNER_*", "GITLAB_*", "CI_API_*", "CI_BUILDS_DIR", "CI_COMMIT_*"),
    *("CI_CONCURRENT_*", "CI_CONFIG_PATH", "CI_DEFAULT_BRANCH*", "CI_DEPENDENCY_*"),
    *("CI_ENVIRONMENT_*", "CI_JOB_*", "CI_MERGE_REQUEST_*", "CI_NODE_*", "CI_PAGES_*"),
    *("CI_PIPELINE_*", "CI_PROJECT_*", "CI_REGISTRY*", "CI_REPOSITORY_URL", "CI_RUNNER_*"),
    *("CI_SERVER*", "CI_TEMPLATE_*", "BUILDKITE*", "CIRCLE*", "JENKINS_*", "KUBERNETES_*"),
    *("*_SERVICE_HOST", "*_SERVICE_PORT*", "*_PORT_[0-9]*_TCP*"),
    # The active environment: the wheel's tags and the tools cover the installed software.
    *("PATH", "VIRTUAL_ENV", "VIRTUAL_ENV_*", "CONDA_DEFAULT_ENV", "CONDA_PROMPT_MODIFIER"),
    *("CONDA_SHLVL", "CONDA_EXE", "CONDA_PYTHON_EXE", "CONDA_PREFIX_[0-9]*", "_CE_*"),
    *("PYENV_*", "PYTHONSTARTUP", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "PYTHONUTF8"),
    *("PYTHONIOENCODING", "PYTHONWARNINGS", "PYTHONHASHSEED", "PYTHONFAULTHANDLER"),
    *("PYTHONDEVMODE", "PYTHONNODEBUGRANGES", "PYTHONPYCACHEPREFIX", "PYTHONNOUSERSITE"),
    # Variables of pip, which count as its options where they matter, and of pip-sharedcache.
    *("PIP_*", "_PIP_*"),
)

#: Variables of CI services from which projects make their version: the tag or the branch.
_OF_SOURCE = (
    *("GITHUB_REF*", "GITHUB_HEAD_REF", "GITHUB_BASE_REF", "CI_COMMIT_TAG", "CI_COMMIT_BRANCH"),
    *("CI_COMMIT_REF_*", "BUILDKITE_TAG", "BUILDKITE_BRANCH", "CIRCLE_TAG", "CIRCLE_BRANCH"),
)

#: Programs that builds run. PATH decides which file is run.
_TOOLS = (
    *("cc", "c++", "gcc", "g++", "clang", "clang++", "gfortran", "flang", "ld", "ar", "as"),
    *("make", "cmake", "ninja", "meson", "pkg-config", "pkgconf", "swig", "rustc", "cargo", "go"),
    *("node", "nvcc", "hipcc", "icx", "icpx", "ifx", "mpicc", "mpicxx", "mpifort", "cython"),
    *("h5cc", "h5pcc", "qmake", "protoc", "thrift", "flex", "bison", "nasm", "yasm", "perl"),
    *("javac", "ghc", "zig", "autoconf", "automake", "libtool", "m4", "re2c", "bazel", "scons"),
)
#: Endings of programs that print the path of a library: pg_config, sdl2-config.
_TELLING = ("-config", "_config")

#: Files that compilers and backends read, relative to the home directory.
_FILES = (".pydistutils.cfg", ".numpy-site.cfg", ".cargo/config.toml", ".cargo/config")

#: A line of a requirements or constraints file that names another file (pip's req_file).
_NAMED = re.compile(
    r"^\s*(?:-c|-r|--constraint|--requirement)[\s=]*[\"\']?([^\s\"\']+)", re.MULTILINE
)

#: Variables of the interpreter's own build, which builds of extension modules use, too.
_OF_PYTHON = ("CC", "CXX", "CFLAGS", "OPT", "CCSHARED", "LDSHARED", "LDFLAGS", "SOABI")


def is_harmless(variable: str) -> bool:
    """Return whether the environment variable ``variable`` does not affect a wheel."""
    if any(fnmatchcase(variable, pattern) for pattern in _OF_SOURCE):
        return False
    return any(fnmatchcase(variable, pattern) for pattern in _HARMLESS)


def variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of ``environ`` that may affect a build."""
    return {name: value for name, value in environ.items() if not is_harmless(name)}


def surroundings(environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the inputs of a build that runs with ``environ``, as JSON values.

    These are its variables, the tools on its PATH, the user's configuration files for tools, and
    the configuration of the interpreter.
    """
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
    """Return the programs in the directories of ``path`` that print the path of a library."""
    names: set[str] = set()
    for directory in path.split(os.pathsep):
        with suppress(OSError):  # a missing or unreadable directory must not fail the run
            names.update(name for name in os.listdir(directory) if name.endswith(_TELLING))
    return sorted(names)


def contents(names: Iterable[str]) -> list[str]:
    """Return for each file its sha256, and that of each requirements file that it names.

    An unreadable file, such as a URL, is represented by its name; a missing one by "".
    """
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
