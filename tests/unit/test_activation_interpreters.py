"""Which interpreter an environment has, and what is said where that cannot be found out."""

from __future__ import annotations

from pathlib import Path

import pytest

from pip_sharedcache.activation import interpreter_of
from pip_sharedcache.errors import FileError, UsageError
from support.probes import needs, root
from support.process import as_user


@needs(root)
def test_an_environment_that_may_not_be_looked_at_is_named(shared_tmp: Path) -> None:
    (shared_tmp / "secret").mkdir(mode=0o700)
    (shared_tmp / "secret" / "python").touch()
    (shared_tmp / "environment" / "bin").mkdir(parents=True)
    program = shared_tmp / "environment" / "bin" / "python"
    program.symlink_to(shared_tmp / "secret" / "python")
    with as_user(54321), pytest.raises(FileError) as caught:
        interpreter_of(shared_tmp / "environment")
    assert str(caught.value) == f"{program} cannot be read: Permission denied"


def test_what_does_not_answer_is_named(tmp_path: Path) -> None:
    program = tmp_path / "bin" / "python"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho what do you mean >&2\n")
    program.chmod(0o755)
    with pytest.raises(UsageError, match="does not answer: what do you mean") as caught:
        interpreter_of(tmp_path)
    assert str(program) in str(caught.value)
