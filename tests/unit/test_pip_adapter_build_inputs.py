"""What a build depends on: everything, but what is known to make no other wheel."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from pip_sharedcache.pip_adapter import build_inputs


@pytest.mark.parametrize(
    "variable",
    [
        *("CC", "CFLAGS", "CPATH", "C_INCLUDE_PATH", "LIBRARY_PATH", "LD_LIBRARY_PATH", "LDFLAGS"),
        *("PKG_CONFIG_PATH", "CMAKE_ARGS", "CMAKE_PREFIX_PATH", "CARGO_HOME", "RUSTFLAGS"),
        *("CUDA_HOME", "MPICC", "MPI_HOME", "OMPI_CC", "SETUPTOOLS_SCM_PRETEND_VERSION"),
        *("WRAPT_INSTALL_EXTENSIONS", "SOURCE_DATE_EPOCH", "CONDA_PREFIX", "PYTHONPATH", "CI"),
        *("NPY_BLAS_ORDER", "SKLEARN_BUILD_PARALLEL", "whatever", "HOST", "QT_SELECT"),
        *("CI_COMMIT_TAG", "GITHUB_REF", "GITHUB_REF_NAME", "BUILDKITE_TAG", "CI_FLAGS"),
        *("GTK_PATH", "OMP_PREFIX"),
    ],
)
def test_it_counts(variable: str) -> None:
    assert build_inputs.variables({variable: "x"}) == {variable: "x"}


@pytest.mark.parametrize(
    "variable",
    [
        *("HOME", "USER", "PWD", "TERM", "LANG", "LC_ALL", "SSH_AUTH_SOCK", "XDG_RUNTIME_DIR", "_"),
        *("PIP_INDEX_URL", "PIP_SHAREDCACHE_DIR", "_PIP_SHAREDCACHE_RUNNER", "https_proxy"),
        *("SLURM_JOB_ID", "LOADEDMODULES", "BASH_FUNC_module%%", "TMPDIR", "VIRTUAL_ENV"),
        *("AWS_REGION", "AWS_ENDPOINT_URL", "GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_BUCKET"),
        *("AZURE_STORAGE_ACCOUNT_NAME", "GITHUB_RUN_ID", "GITHUB_SHA", "RUNNER_NAME"),
        *("GITLAB_USER_LOGIN", "CI_JOB_ID", "CI_COMMIT_SHA", "BUILDKITE_JOB_ID", "JENKINS_URL"),
        *("KUBERNETES_PORT", "TEAM_SERVICE_HOST", "TEAM_SERVICE_PORT_HTTPS"),
        *("GITHUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "DB_PASSWORD", "OPENAI_API_KEY"),
    ],
)
def test_it_makes_no_other_wheel(variable: str) -> None:
    assert build_inputs.variables({variable: "x"}) == {}


def test_tools_are_what_path_leads_to(tmp_path: Path) -> None:
    (tmp_path / "real-compiler-13").write_text("#!/bin/sh\n")
    (tmp_path / "real-compiler-13").chmod(0o755)
    (tmp_path / "cc").symlink_to("real-compiler-13")
    found = build_inputs.surroundings({"PATH": str(tmp_path)})
    assert found["tools"] == {"cc": os.path.realpath(tmp_path / "real-compiler-13")}
    assert build_inputs.surroundings({"PATH": "/nowhere"})["tools"] == {}


def test_files_count_by_what_they_say(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("numpy<2\n")
    expected = hashlib.sha256(b"numpy<2\n").hexdigest()
    names = [str(tmp_path / "one"), str(tmp_path / "missing"), "https://example.invalid/c.txt"]
    assert build_inputs.contents(names) == [expected, "", "https://example.invalid/c.txt"]
    assert build_inputs.contents([str(tmp_path)]) == [str(tmp_path)]


def test_files_that_they_name_count_too(tmp_path: Path) -> None:
    (tmp_path / "top").write_text("-c in.txt\n--constraint=other.txt # x\n-r https://a.invalid/r\n")
    (tmp_path / "in.txt").write_text("-c top\nnumpy<2\n")
    before = build_inputs.contents([str(tmp_path / "top")])
    for name in ("in.txt", "other.txt"):
        (tmp_path / name).write_text("-c top\nnumpy<3\n")
        after = build_inputs.contents([str(tmp_path / "top")])
        assert after != before
        before = after


def test_programs_that_tell_where_a_library_is_count(tmp_path: Path) -> None:
    for name in ("sdl9-config", "odd_config", "no-tool"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    found = build_inputs.surroundings({"PATH": f"/nowhere{os.pathsep}{tmp_path}"})["tools"]
    assert sorted(found) == ["odd_config", "sdl9-config"]
