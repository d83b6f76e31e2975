"""Signatures of derived data, below ``signatures/``: each a file of its signer.

    signatures/<aa>/<sha256 of the subject>.<uid>

Neither the owner nor the mode of such a file counts: anybody may have put it there, and it is read
as such. What counts is that an allowed signer made it, and that it is about the subject that was
asked for.
"""

from __future__ import annotations

import itertools
import os
import re
import shlex
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pip_sharedcache import fs, trust
from pip_sharedcache.config import Settings
from pip_sharedcache.errors import (
    CannotCheck,
    DirectoryMissing,
    NoRoom,
    NotSigned,
    NotWritable,
    SettingError,
    reason,
)
from pip_sharedcache.fs import Directory
from pip_sharedcache.signing import (
    MOST_HEAD,
    LaterForm,
    Signature,
    SignedData,
    Signers,
    Statement,
    read_line,
    read_signed,
    subject_digest,
)
from pip_sharedcache.store.layout import SHARDS, SIGNATURES, MissingDirectory, Store
from pip_sharedcache.trust import identity

_MOST = 8  # signatures that are checked for one subject: anybody may add any number
_MOST_LISTED = 10_000  # names of a shard that are looked at, for the same reason
_NAME = re.compile(r"([0-9a-f]{64})\.(\d{1,10})")


@dataclass(frozen=True)
class StoredSignature:
    """One file below ``signatures/``.

    ``path``: its path.
    ``owner``: the uid that owns the file.
    ``signed``: when it was written, in seconds since the epoch.
    ``kind``, ``key``: what it says that it is about; "" twice for a file that is no signature.
    """

    path: Path
    owner: int
    signed: float
    kind: str = ""
    key: str = ""


def find_signed(
    store: Store, kind: str, key: str, signers: Signers, refusals: list[str]
) -> tuple[Statement, Signature] | None:
    """Return the statement about ``kind`` and ``key`` that an allowed signer made, or None.

    ``refusals`` gets a line for each signature that does not count. The contents of the store never
    cause an error. Raises CannotCheck.
    """
    subject = subject_digest(kind, key)
    with suppress(OSError), store.opened(SIGNATURES, subject[:2]) as chain:
        for name in itertools.islice(_names(store, subject, chain[0]), _MOST):
            try:
                signed = _read(chain[0], name)
                return signed.check(signers, kind, key)
            except FileNotFoundError:
                continue
            except CannotCheck:
                raise
            except (NotSigned, OSError, ValueError, MemoryError) as error:
                refusals.append(f"{chain[0].path / name}: {_why(error)}")
    return None


def check_stored(stored: StoredSignature, signers: Signers) -> tuple[Statement, Signature]:
    """Return what the file ``stored`` says, and who signed it.

    Raises NotSigned if it is no signature of an allowed signer; FileNotFoundError.
    """
    try:
        with Directory.open(stored.path.parent) as shard:
            return _read(shard, stored.path.name).check(signers, stored.kind, stored.key)
    except FileNotFoundError:
        raise
    except (OSError, ValueError, MemoryError) as error:
        raise NotSigned(_why(error)) from error


def own_signed(store: Store, kind: str, key: str) -> SignedData | None:
    """Return the signed data that this user has put in ``store`` for the subject, or None.

    A file that another user owns, or may write, does not count.
    """
    subject = subject_digest(kind, key)
    with suppress(OSError, ValueError), store.opened(SIGNATURES, subject[:2]) as chain:
        name = f"{subject}.{trust.user_id()}"
        status = chain[0].file_status(name)
        if status.st_uid == trust.user_id() and not trust.writable_by_others(status):
            return _read(chain[0], name)
    return None


def write_signed(store: Store, signed: SignedData) -> Path:
    """Put ``signed`` in ``store``, in place of an earlier one of this user; return its path.

    Raises NotPublished.
    """
    subject = subject_digest(signed.kind, signed.key)
    name = f"{subject}.{trust.user_id()}"
    try:
        with store.shard(SIGNATURES, subject) as shard:
            shard.replace(name, signed.to_bytes())
            return shard.path / name
    except OSError as error:
        top = store.path / SIGNATURES
        if isinstance(error, MissingDirectory):
            group = f"--group {shlex.quote(store.group)} " if store.group else ""
            raise DirectoryMissing(
                f"{error.filename} is missing, and you may not make it",
                f"pip-sharedcache store init {group}{shlex.quote(str(store.path))} makes it (as "
                f"{trust.owner_or_root(store.owner)})",
            ) from error
        kind = NoRoom if error.errno in fs.NO_SPACE_ERRORS else NotWritable
        raise kind(f"{top / subject[:2] / name} cannot be written: {reason(error)}") from error


def list_signatures(store: Store, unread: list[tuple[Path, str]]) -> Iterator[StoredSignature]:
    """Yield every file below ``signatures/``. Shards that cannot be read are added to ``unread``.

    Files with other names, or of a later form, are not yielded.
    """
    for shard in SHARDS:
        try:
            with store.opened(SIGNATURES, shard) as chain:
                yield from list(_of_shard(chain[0]))
        except FileNotFoundError:
            continue
        except OSError as error:
            unread.append((store.path / SIGNATURES / shard, reason(error)))


def _of_shard(shard: Directory) -> Iterator[StoredSignature]:
    for name in sorted(filter(_NAME.fullmatch, shard.names())):
        try:
            status = shard.file_status(name)
        except OSError:
            continue  # deleted meanwhile
        kind = key = ""
        try:
            kind, key = _subject(shard, name)
        except LaterForm:
            continue
        except (OSError, ValueError):
            pass  # no signature: listed as one about nothing
        yield StoredSignature(shard.path / name, status.st_uid, status.st_mtime, kind, key)


def _subject(shard: Directory, name: str) -> tuple[str, str]:
    """Return kind and key of the subject of the file ``name``. Raises OSError, ValueError."""
    descriptor = _open(shard, name)
    with os.fdopen(descriptor, "rb") as file:
        kind, key, _ = read_line(file)
    if subject_digest(kind, key) != name[:64]:
        raise ValueError("it lies under the name of another subject")
    return kind, key


def _names(store: Store, subject: str, shard: Directory) -> Iterator[str]:
    """Yield the names of the signatures of ``subject``, those of known users first."""
    known = [0, store.owner, trust.user_id(), *sorted(store.trust.uids)]
    named = dict.fromkeys(f"{subject}.{uid}" for uid in known)
    with os.scandir(shard.where) as entries:
        names = [one.name for one in itertools.islice(entries, _MOST_LISTED)]
    there = {name for name in names if name.startswith(subject) and _NAME.fullmatch(name)}
    if len(names) == _MOST_LISTED:
        yield from named
    else:
        yield from (name for name in named if name in there)
    yield from sorted(there - named.keys())


def _read(shard: Directory, name: str) -> SignedData:
    """Return the content of the file ``name``. Raises OSError, ValueError."""
    descriptor = _open(shard, name)
    with os.fdopen(descriptor, "rb") as file:
        return read_signed(file)


def _open(shard: Directory, name: str) -> int:
    """Open the regular file ``name``; the caller closes it. Raises OSError, ValueError."""
    descriptor = shard.open_file(name)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("it is not a regular file")
        if status.st_size > MOST_HEAD:
            raise ValueError(f"it has {status.st_size} bytes, and none has more than {MOST_HEAD}")
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _why(error: Exception) -> str:
    if isinstance(error, OSError):
        return reason(error)
    return str(error) or type(error).__name__


def signers_of(settings: Settings, stores: Iterable[Store]) -> Signers | None:
    """Return the allowed signers that ``settings`` name; None if they name none.

    ``stores``: those of the run; an owner whom this user trusts may choose the signers, too, since
    such a user may publish derived data there anyway. Raises SettingError if the files cannot be
    used; for root, also if somebody else may have set them: through sudo, the variables may be a
    user's. In a user namespace, owners that it does not map count as root.
    """
    if settings.signers is None:
        return None
    # Root of a user namespace is a user; that one's files show root as nobody.
    mapped = identity.users_are_mapped()
    is_root = trust.OWNERS_MEAN_SOMETHING and trust.user_id() == 0 and not mapped
    for name in ("signers", "revoked-signers") if is_root else ():
        for setting in settings.chosen.get(name, ())[-1:]:
            if not setting.administered:
                raise SettingError(
                    f"sharedcache.{name}: {setting.value} is not used: for root it counts in the "
                    f"configuration for all only, and this is {setting.source}",
                    f"pip config --global set sharedcache.{name} {shlex.quote(setting.value)}",
                )
    owners = frozenset(one.owner for one in stores if one.trust.trusts(one.owner))
    if mapped:
        owners |= trust.NOBODY
    return Signers(settings.signers, settings.revoked_signers, owners=owners)


def may_relay_signed(settings: Settings, store: Store) -> bool:
    """Return whether this user may publish in ``store`` what an allowed signer signed.

    Others who trust this user there would take it without a signature. So either the store is this
    user's alone, or the configuration for all users of the machine names the signers.
    """
    named = settings.chosen.get("signers", ())
    if named and named[-1].administered:
        return True
    return store.owner == trust.user_id() and not (store.group or store.trusted)


def count_signatures(store: Store) -> int:
    """Return the number of files below ``signatures/``, except in unreadable shards."""
    number = 0
    for shard in SHARDS:
        with suppress(OSError):
            names = os.listdir(store.path / SIGNATURES / shard)
            number += sum(_NAME.fullmatch(name) is not None for name in names)
    return number
