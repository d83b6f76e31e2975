"""Signed bytecode: one statement for all entries of a wheel, and only signed bytes get into one."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pip_sharedcache import bytecode
from pip_sharedcache.errors import NotSigned
from pip_sharedcache.model import Compiled, Digest, Entry
from pip_sharedcache.signing import (
    BYTECODE,
    BytecodeStatement,
    SignedData,
    SignedFile,
    Signers,
    bytecode_key,
    read_signed,
    read_statement,
    sign,
)
from pip_sharedcache.store import (
    Source,
    Spools,
    Store,
    find_bytecode,
    make_statement,
    make_visible,
    open_entry,
    publish,
    signed_bytes,
    spool_signed,
    stage_bytecode,
)
from pip_sharedcache.store.spools import open_spools
from support import probes
from support.keys import make_key, public
from support.wheels import digest, make_wheel

FILES = {
    "demo/__init__.py": "ANSWER = 42\n",
    "demo/deep/module.py": "def f():\n    return 1\n",
    "demo/syntax.py": "this is no Python\n",
    "demo/data.txt": "text\n",
}
MAGIC = importlib.util.MAGIC_NUMBER.hex()


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    return make_wheel(tmp_path / "wheels", files=FILES)


def _stage(
    store: Store, entry: Entry, fill: Callable[[Spools], Compiled], *, packed: bool = False
) -> Entry:
    key = bytecode.fits(entry)
    staged = stage_bytecode(store, entry, bytecode.tag(), key, fill, packed=packed)
    (found,) = make_visible(store, [staged])
    assert isinstance(found, Entry)
    assert find_bytecode(store, entry, bytecode.tag(), key).entry == found
    return found


def _publish(store: Store, wheel: Path, *, packed: bool = False) -> tuple[Entry, Entry]:
    """The entry of the wheel in the store, and its bytecode as it was compiled."""
    entry = publish(store, wheel, wheel.name, Digest(digest(wheel)))

    def compile_it(spools: Spools) -> Compiled:
        with Source.of(entry, open_entry(entry)) as source:
            return bytecode.compile_all(entry, source, spools)

    return entry, _stage(store, entry, compile_it, packed=packed)


def _signed(entry: Entry) -> tuple[BytecodeStatement, list[bytes]]:
    with Source.of(entry, open_entry(entry)) as source:
        return make_statement(entry, source), list(signed_bytes(entry, source))


def _content(entry: Entry) -> dict[str, bytes]:
    with Source.of(entry, open_entry(entry)) as source:
        return {file.path: source.read_checked(file) for file in entry.manifest.files}


@pytest.fixture
def near(shared_tmp: Path) -> Iterator[Store]:
    yield Store.make(shared_tmp / "near")


@pytest.fixture
def far(shared_tmp: Path) -> Iterator[Store]:
    yield Store.make(shared_tmp / "far")


def test_signed_bytecode_is_the_same_for_every_entry_of_a_wheel(
    near: Store, far: Store, wheel: Path
) -> None:
    """As a tree and as a pack; in the other store it has the time of the source there."""
    one, compiled = _publish(far, wheel, packed=True)
    statement, payload = _signed(compiled)
    assert (statement.tag, statement.magic) == (bytecode.tag(), MAGIC)
    assert statement.key == bytecode_key(Digest(digest(wheel)), bytecode.tag(), MAGIC)
    assert statement.failed == ("demo/syntax.py",)
    assert len(statement.files) == 2
    assert read_statement(statement.to_bytes()) == statement

    other = publish(near, wheel, wheel.name, Digest(digest(wheel)))
    assert other.manifest.files[0].mtime != one.manifest.files[0].mtime
    left = iter(payload)
    pulled = _stage(
        near,
        other,
        lambda spools: spool_signed(statement, other.manifest, lambda _: next(left), spools),
    )
    assert compiled.manifest.files[0].sha256 != pulled.manifest.files[0].sha256
    time = other.manifest.files[0].mtime.to_bytes(4, "little")
    for path, data in _content(pulled).items():
        assert data[8:12] == time
        assert data[12:] == _content(compiled)[path][12:]
    assert _signed(pulled) == (statement, payload)


def test_only_signed_bytes_become_bytecode(near: Store, wheel: Path) -> None:
    """Each change of the files or of the statement has its reason."""
    entry, compiled = _publish(near, wheel)
    statement, payload = _signed(compiled)
    first, second = statement.files
    evil = replace(statement, files=(first, second, SignedFile("demo/x.pyc", 0, "0" * 64)))
    cases: dict[str, tuple[BytecodeStatement, Callable[[SignedFile], bytes]]] = {
        "has other bytes than were signed": (statement, lambda file: payload[0]),
        "lacks the bytecode of demo/": (replace(statement, files=(first,)), lambda _: payload[0]),
        "has demo/x.pyc, for which": (evil, lambda file: payload[file == second]),
        "no bytecode with the time": (statement, lambda _: payload[0][:15]),
        "for another interpreter": (
            replace(statement, magic="00000000"),
            lambda file: payload[file == second],
        ),
    }
    hashed = payload[0][:4] + b"\1" + payload[0][5:]
    cases["is no bytecode with the time"] = (statement, lambda _: hashed)
    wrong = []
    for reason, (changed, read) in cases.items():
        with open_spools() as spools:
            try:
                spool_signed(changed, entry.manifest, read, spools)
                wrong.append(reason)
            except NotSigned as error:
                if reason not in str(error):
                    wrong.append(f"{reason}: {error}")
    assert not wrong


@probes.needs(probes.openssh)
def test_signed_data_is_about_what_it_was_asked_for(
    near: Store, wheel: Path, tmp_path: Path
) -> None:
    """A sound signature of an allowed signer in the place of another one is refused."""
    _, compiled = _publish(near, wheel)
    statement, payload = _signed(compiled)
    key = make_key(tmp_path, "key")
    allowed = tmp_path / "allowed"
    allowed.write_text(f"alice@example.org {public(key)}\n", encoding="ascii")
    signers = Signers(allowed)
    text = statement.to_bytes()
    made = SignedData.of(statement, sign(text, key))
    file = io.BytesIO(made.to_bytes() + b"".join(payload))
    again = read_signed(file)
    assert again == made
    assert file.read() == b"".join(payload)
    found, by = again.check(signers, BYTECODE, statement.key)
    assert (found, by.principal) == (statement, "alice@example.org")

    for other in (
        bytecode_key(Digest("0" * 64), statement.tag, statement.magic),
        bytecode_key(statement.wheel, f"{statement.tag}.opt-1", statement.magic),
        bytecode_key(statement.wheel, statement.tag, "00000000"),
    ):
        with pytest.raises(NotSigned, match=r"alice@example\.org signed bytecode"):
            made.check(signers, BYTECODE, other)
    for changed in (b"x", b"{}", text + b" ", b"[" * 10_000):
        with pytest.raises(NotSigned, match=r"alice@example\.org signed"):
            one = replace(made, statement=changed, signature=sign(changed, key))
            one.check(signers, BYTECODE, statement.key)
    with pytest.raises(NotSigned, match="incorrect signature"):
        replace(made, statement=b"{}").check(signers, BYTECODE, statement.key)
