"""Bytecode of untrusted publishers: used if an allowed signer signed it, and only as it was signed.

Bytecode that was to be used, or must not be, is marked: it says "marked" where its source says
"source".
"""

from __future__ import annotations

import functools
import io
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace as replace_field
from pathlib import Path
from typing import Any

import pytest

from multiuser.test_shared_store import Site, entry_of, running_site
from pip_sharedcache.signing import read_signed
from support import probes
from support.accounts import Account, Accounts, run_as
from support.damage import rewrite
from support.environments import Environment
from support.keys import NAMESPACES, make_key, public, revoke, signature
from support.process import as_user
from support.tampering import describe, replace
from support.wheels import make_wheel

pytestmark = [
    pytest.mark.multiuser,
    probes.needs(probes.accounts, probes.bind_mounts, probes.tmpfs, probes.openssh),
]

#: By the key that signs: the wheels, and the reason for which each is refused; "" for none.
SIGNED = {
    "good": {
        "sound": "",
        "replayed": "ci signed bytecode ",
        "forged": ".pyc has other bytes than were signed",
        "piped": ".pyc is not a regular file",
        "linked": ".pyc cannot be read: Too many levels of symbolic links",
        "around": ".pyc cannot be read: Not a directory",
        "fifo": ": it is not a regular file",
        "link": ": Too many levels of symbolic links",
        "folder": ": it is not a regular file",
        "large": " bytes, and none has more than ",
        "garbage": ": no signed data",
        "other": ": the signature is for 'git'",
    },
    "unlisted": {"unlisted": "belongs to no signer of "},
    "revoked": {"revoked": "its key is revoked by "},
    "expired": {"expired": "key has expired"},
}
#: Those of which the signature is sound, and the files are not.
IN_FILES = {"forged", "piped", "linked", "around"}
NAMES = [name for names in SIGNED.values() for name in names]


@pytest.fixture(scope="module")
def site(accounts: Accounts, public_python: Path) -> Iterator[Site]:
    with running_site(accounts, public_python) as found:
        for name in (*NAMES, "unsigned"):
            files = {f"{name}/__init__.py": "", f"{name}/{name}.py": "WHO = 'source'\n"}
            make_wheel(found.wheels, name, files=files)
        yield found


@pytest.fixture(scope="module")
def keys(site: Site) -> Path:
    """Keys of usera's, and what root says about them: allowed, revoked."""
    usera, directory = site.accounts.usera, site.directory(site.accounts.usera)
    with as_user(usera.uid, usera.gid):
        for name in SIGNED:
            make_key(directory, name)
    told = site.directory()
    allowed = [f"ci {NAMESPACES} {public(directory / name)}" for name in ("good", "revoked")]
    allowed.append(f'old valid-before="20200101" {public(directory / "expired")}')
    (told / "allowed").write_text("\n".join(allowed), encoding="ascii")
    revoke(told / "gone", directory / "revoked.pub").chmod(0o644)
    return directory


def _signers(site: Site) -> dict[str, str | None]:
    """The settings of a user, which name files of root's: allowed and revoked signers."""
    (allowed,) = site.base.glob("root-*/allowed")
    return {
        "PIP_SHAREDCACHE_SIGNERS": str(allowed),
        "PIP_SHAREDCACHE_REVOKED_SIGNERS": str(allowed.with_name("gone")),
    }


def _compiled(store: Path, name: str) -> Path:
    """The entry with the bytecode of the wheel."""
    (found,) = store.glob(f"bytecode/*/{entry_of(store, name).name}.*")
    return found


def _pyc(store: Path, name: str) -> Path:
    (found,) = _compiled(store, name).glob(f"files/{name}/__pycache__/{name}.*.pyc")
    return found


@functools.cache
def _code(python: Path, word: str) -> bytes:
    """The code of a module that says ``word``, as a .pyc has it."""
    code = "import marshal, sys; made = marshal.dumps(compile(sys.argv[1], 'x', 'exec'))"
    code += "; sys.stdout.buffer.write(made)"
    command = [str(python), "-c", code, f"WHO = {word!r}\n"]
    return subprocess.run(command, check=True, capture_output=True).stdout


def _mark(site: Site, store: Path, name: str, word: str = "marked") -> None:
    """Have the bytecode say ``word``; as its publisher, who describes it as it is then."""
    made = _code(site.template.python, word)
    pyc = _pyc(store, name)
    rewrite(pyc, pyc.read_bytes()[:16] + made)
    describe(_compiled(store, name), str(pyc.relative_to(_compiled(store, name) / "files")))


def _signatures(store: Path) -> dict[str, Path]:
    """The file with the signature of the bytecode of each wheel."""
    names = {entry_of(store, name).name: name for name in NAMES}
    found = {}
    for path in store.glob("signatures/*/*"):
        told = json.loads(path.read_bytes().partition(b"\n")[0])
        found[names[told["key"].partition(".")[0]]] = path
    return found


def _sign(site: Site, account: Account, environment: Environment, store: Path, *words: str) -> str:
    command = environment.command("store", "sign", *words)
    done = run_as(account, command, env=site.settings(store), check=True)
    return done.stdout


def _install(
    account: Account | None,
    environment: Environment,
    settings: Mapping[str, str | None],
    *arguments: str,
) -> str:
    command = environment.command("install", *arguments)
    done = run_as(account, command, env=settings, check=True)
    return done.stdout + done.stderr


def _says(environment: Environment, account: Account | None, names: list[str]) -> dict[str, str]:
    """What the modules say when they are imported, each by its bytecode if that fits."""
    code = (
        "import importlib, json, sys; print(json.dumps({name: "
        "importlib.import_module(f'{name}.{name}').WHO for name in sys.argv[1:]}))"
    )
    done = run_as(account, [str(environment.python), "-c", code, *names], check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def signed(site: Site, keys: Path) -> Path:
    """A store in which usera has published all wheels, with marked bytecode, and signed them."""
    usera, store = site.accounts.usera, site.make_store(None)
    environment = site.environment(usera)
    site.install(usera, environment, store, *NAMES, "unsigned")
    with as_user(usera.uid, usera.gid, [site.accounts.group_gid]):
        for name in (*NAMES, "unsigned"):
            _mark(site, store, name)
    for key, names in SIGNED.items():
        option = ["--sharedcache-signing-key", str(keys / key)]
        said = _sign(site, usera, environment, store, *names, *option)
        assert f"Signed {_entries(len(names))} of {store}." in said
    option = ["--sharedcache-signing-key", str(keys / "good")]
    said = _sign(site, usera, environment, store, "sound", "replayed", "forged", *option)
    assert f"Signed 1 entry of {store}, 2 were signed before." in said, "each may want a touch"
    return store


def _copy_of(site: Site, signed: Path) -> Path:
    """A store of a test's own."""
    store = site.directory() / "store"
    subprocess.run(["cp", "-a", signed, store], check=True)
    return store


def _entries(number: int) -> str:
    return f"{number} {'entry' if number == 1 else 'entries'}"


def _attack(site: Site, store: Path, signed_at: Mapping[str, Path], keys: Path) -> None:
    """What the publisher does to what is signed."""
    rewrite(signed_at["replayed"], signed_at["sound"].read_bytes())
    _mark(site, store, "forged", "forged")
    replace(_pyc(store, "piped"), os.mkfifo)
    target = _pyc(store, "sound")
    replace(_pyc(store, "linked"), lambda path: path.symlink_to(target))
    beside = _pyc(store, "around").parent
    beside.parent.chmod(0o755)
    kept = beside.with_name("kept")
    beside.rename(kept)
    beside.symlink_to("kept")
    signed = signed_at["sound"]
    _put(signed_at["fifo"], os.mkfifo)
    _put(signed_at["link"], lambda path: path.symlink_to(signed))
    _put(signed_at["folder"], os.mkdir)
    with signed_at["large"].open("r+b") as file:
        file.truncate(1 << 30)
    rewrite(signed_at["garbage"], os.urandom(5000))
    text = signed_at["other"]
    data = read_signed(io.BytesIO(text.read_bytes()))
    other = replace_field(data, signature=signature(keys / "good", data.statement, "git"))
    rewrite(text, other.to_bytes())


def _put(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink()
    make(path)


def test_only_what_an_allowed_signer_signed_is_used_of_an_untrusted_publisher(
    site: Site, keys: Path, signed: Path
) -> None:
    """All attacks of the publisher in one installation; each has its reason, and no effect."""
    usera, userb, store = site.accounts.usera, site.accounts.userb, _copy_of(site, signed)
    signed_at = _signatures(store)
    entry_at = {name: _compiled(store, name) for name in NAMES}
    with as_user(usera.uid, usera.gid, [site.accounts.group_gid]):
        _attack(site, store, signed_at, keys)
    environment, names = site.environment(userb), [*NAMES, "unsigned"]
    settings = site.settings(store, PIP_SHAREDCACHE_TRUST="owner")
    said = _install(userb, environment, {**settings, **_signers(site)}, "-v", *names)
    expected = {name: "marked" if name == "sound" else "source" for name in names}
    assert _says(environment, userb, [*expected]) == expected
    lines = said.splitlines()
    assert len([one for one in lines if "Signed bytecode of sound-1.0" in one]) == 1
    missing = [f"{name}: {why}" for names in SIGNED.values() for name, why in names.items() if why]
    for line in lines:
        for reasons in SIGNED.values():
            for name, why in reasons.items():
                path = entry_at[name] if name in IN_FILES else signed_at[name]
                if why and f"{path}: " in line and why in line:
                    missing.remove(f"{name}: {why}")
    assert not missing, said
    # Others who trust userb need not trust the signers of his: he has published what he compiled.
    beside = {path.name[:64] for path in store.glob(f"bytecode/*/*.{userb.uid}")}
    assert {entry_of(signed, name).name for name in names if name != "sound"} == beside
    environment = site.environment(userb)
    assert "WARNING" not in _install(userb, environment, settings, *names)
    assert set(_says(environment, userb, [*expected]).values()) == {"source"}


def test_signed_bytecode_is_used_where_owners_mean_nothing(site: Site, keys: Path) -> None:
    """A store that a server gives to nobody, and one that was restored under another owner."""
    userb, root_key = site.accounts.userb, site.directory() / "key"
    shutil.copy(keys / "good", root_key)
    root_key.chmod(0o600)
    made, maker = site.make_store(None, layout="packed"), site.environment(None)
    site.install(None, maker, made, "sound", "forged")
    option = ["--sharedcache-signing-key", str(root_key)]
    done = run_as(None, maker.command("store", "sign", *option), env=site.settings(made))
    assert (done.returncode, done.stderr) == (0, "")
    assert f"Signed 2 entries of {made}." in done.stdout
    for uid in (65534, site.accounts.userc.uid):
        subprocess.run(["chown", "-R", f"{uid}:{uid}", made], check=True)
        own = site.directory(userb)
        settings = site.settings(None, PIP_SHAREDCACHE_DIR=f"{own}:{made} read-only")
        said = _install(
            userb, site.environment(userb), {**settings, **_signers(site)}, "-v", "sound"
        )
        assert said.count("Signed bytecode of sound-1.0-py3-none-any.whl is used") == 1, said
        assert len(list(own.glob("bytecode/*/*"))) == 1
    # From now on it is userb's own, and nobody's signature is asked for.
    environment = site.environment(userb)
    said = _install(userb, environment, settings, "-v", "sound", "forged")
    assert "Signed" not in said
    assert len(list(own.glob("bytecode/*/*"))) == 2, "compiled: what nobody signed"
    names = ["sound", "forged"]
    assert _says(environment, userb, names) == dict.fromkeys(names, "source")


def test_ssh_keygen_that_is_missing_is_one_line(site: Site, signed: Path) -> None:
    userb, store = site.accounts.userb, _copy_of(site, signed)
    environment, names = site.environment(userb), ["sound", "replayed", "forged", "other"]
    settings = {**site.settings(store, PIP_SHAREDCACHE_TRUST="owner"), **_signers(site)}
    command = ["env", "PATH=/nonexistent", *environment.command("install", "-v", *names)]
    done = run_as(userb, command, env=settings, check=True)
    said = done.stdout + done.stderr
    assert said.count("No signature counts: ssh-keygen cannot be started: No such file") == 1, said
    assert "Signature not used" not in said
    assert set(_says(environment, userb, names).values()) == {"source"}


def test_root_uses_signed_bytecode_if_only_root_named_the_signers(site: Site, signed: Path) -> None:
    store = _copy_of(site, signed)
    named = _signers(site)
    environment = site.environment(None)
    with site.administered(environment, store) as settings:
        said = _install(None, environment, {**settings, **named}, "sound")
        assert "No signature counts: sharedcache.signers: " in said
        assert "for root it counts in the configuration for all only" in said
        assert _says(environment, None, ["sound"]) == {"sound": "source"}
    for revoked, word in ((named["PIP_SHAREDCACHE_REVOKED_SIGNERS"], "marked"), ("", "source")):
        environment = site.environment(None)
        more = f"signers = {named['PIP_SHAREDCACHE_SIGNERS']}\n"
        more += f"revoked-signers = {revoked}\n" if revoked else ""
        # Through sudo, a user could have had no key revoked.
        elsewhere = {} if revoked else {"PIP_SHAREDCACHE_REVOKED_SIGNERS": os.devnull}
        name = "replayed" if revoked else "forged"
        with site.administered(environment, store, more) as settings:
            said = _install(None, environment, {**settings, **elsewhere}, name)
        assert _says(environment, None, [name]) == {name: word}, said
        (published,) = store.glob(f"bytecode/*/{entry_of(signed, name).name}.*.0")
        assert published.stat().st_uid == 0, "signers of all users: it is for all"
        assert ("No signature counts: sharedcache.revoked-signers" in said) is not bool(revoked)


def test_signatures_are_checked_and_collected(site: Site, signed: Path) -> None:
    usera, userb, store = site.accounts.usera, site.accounts.userb, _copy_of(site, signed)
    environment = site.environment(userb)

    def verify(*more: str) -> tuple[int, dict[str, Any]]:
        command = environment.command("store", "verify", "--signatures", "--json", *more)
        done = run_as(userb, command, env={**site.settings(store), **_signers(site)})
        return done.returncode, json.loads(done.stdout)

    status, told = verify()
    counting = [one for one in told["signatures"] if one["counts"]]
    assert (status, len(told["signatures"]), len(counting)) == (1, len(NAMES), len(NAMES) - 3)
    assert {one["signed_by"] for one in counting} == {"ci"}
    signed_at = _signatures(store)
    with as_user(usera.uid, usera.gid, [site.accounts.group_gid]):
        _mark(site, store, "forged", "forged")
        for name in ("revoked", "expired", "unlisted"):
            signed_at[name].unlink()
    name_of = {path: name for name, path in _signatures(store).items()}
    status, told = verify()
    wrong = {name_of[Path(one["path"])]: one for one in told["signatures"] if not one["counts"]}
    assert (status, [*wrong]) == (1, ["forged"])
    assert wrong["forged"]["reason"].endswith(".pyc has other bytes than were signed")
    assert wrong["forged"]["signed_by"] == "ci"

    long_ago = time.time() - 3 * 3600
    for path in name_of:
        os.utime(path, (long_ago, long_ago))
    for name in ("forged", "sound"):
        _compiled(store, name).rename(site.directory() / "gone")
    command = environment.command("store", "gc", "--older-than", "30d")
    run_as(userb, command, env=site.settings(store), check=True)
    assert len(_signatures(store)) == len(name_of), "they are usera's"
    run_as(usera, command, env=site.settings(store), check=True)
    assert {*name_of.values()} - {*_signatures(store)} == {"forged", "sound"}
    assert verify()[0] == 0
