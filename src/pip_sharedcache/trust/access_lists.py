"""Access lists, which can give rights that the mode of a file does not show.

Linux shows access lists as extended attributes. A mask limits the entries of a POSIX list, and
``st_mode`` shows this mask as the bits of the group. The list of an NFSv4 server (RFC 7530, section
6.2) has no mask: an account in the list may write although the mode says otherwise. A list that
cannot be read or decoded counts as a list that lets others write.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from pip_sharedcache.trust import mounts

POSIX = "system.posix_acl_access"
POSIX_DEFAULT = "system.posix_acl_default"
NFS4 = "system.nfs4_acl"

#: Lists that this module does not decode: richacl kernels, CIFS, ZFS on some systems, NTFS.
_FOREIGN = (
    *("system.richacl", "system.cifs_acl", "system.nfs4acl", "system.nfs4_acl_xdr"),
    *("system.ntfs_acl", "system.ntfs_security"),
)

#: The errno of getxattr(2) if the file system supports lists of this kind, and the file has none.
_NO_LIST = getattr(errno, "ENODATA", -1)

#: File systems whose server can check lists that the client does not show: NFSv3 without its ACL
#: protocol, SMB without extended attributes, AFS; and GPFS, whose lists need special calls.
_HIDDEN = frozenset({"nfs", "cifs", "smb3", "smbfs", "afs", "gpfs"})

# RFC 7530, 6.2.1: types, flags and rights.
_ALLOW, _LAST_TYPE = 0, 3
_INHERIT_ONLY, _ALL_FLAGS = 0x8, 0xFF
_IN_MODE = 0x2 | 0x4 | 0x40  # write, append, delete child
_CHANGES = _IN_MODE | 0x40000 | 0x80000  # mode and list, owner
_ALL_RIGHTS = 0x1F07FF
_HEAD = struct.Struct(">4I")
_OWNER, _GROUP, _EVERYONE = "OWNER@", "GROUP@", "EVERYONE@"
_LETS_WRITE = "has an access list that lets others write"

# linux/posix_acl_xattr.h and linux/posix_acl.h: version, kinds of entries, rights.
_POSIX_VERSION = 2
_POSIX_ENTRY = struct.Struct("<2HI")
_NAMED, _MASK = (0x02, 0x08), 0x10  # an account or a group; the mask of their rights
_POSIX_WRITE = 0x2


class Rule(NamedTuple):
    """One entry of an NFSv4 list (RFC 7530, section 6.2.1).

    ``type``: the kind of entry; 0 allows.
    ``flags``: the flags, for example inherit-only.
    ``rights``: the access mask.
    ``who``: the name of an account or group, or OWNER@, GROUP@, EVERYONE@.
    """

    type: int
    flags: int
    rights: int
    who: str


def decode(data: bytes) -> list[Rule]:
    """Return the entries in the value of ``system.nfs4_acl``.

    Raise ValueError unless ``data`` is exactly one complete list.
    """
    if len(data) < 4:
        raise ValueError("it is too short")
    count = int.from_bytes(data[:4], "big")
    if count > (len(data) - 4) // _HEAD.size:
        raise ValueError("it is too short")
    rules, at = [], 4
    for _ in range(count):
        if len(data) - at < _HEAD.size:
            raise ValueError("it is too short")
        kind, flags, rights, length = _HEAD.unpack_from(data, at)
        start, end = at + _HEAD.size, at + _HEAD.size + length
        at = end + -length % 4
        if at > len(data):
            raise ValueError("it is too short")
        if kind > _LAST_TYPE or flags & ~_ALL_FLAGS or rights & ~_ALL_RIGHTS:
            raise ValueError("it has an unknown type, flag or right")
        if not length or any(data[end:at]):
            raise ValueError("it has a malformed name")
        rules.append(Rule(kind, flags, rights, data[start:end].decode("utf-8")))
    if at != len(data):
        raise ValueError("it has more bytes than entries")
    return rules


def foreign_publishers(where: int | str | Path) -> str:
    """Return why others may write a directory that its group may write.

    Others are all users except the owner and the members of the group. The words follow the name of
    the directory; "" means that no list lets others write.
    """
    return _foreign_writers(where, {_GROUP: _CHANGES}, posix=True)


def foreign_writers(where: int | str | Path, mode: int, *, inherited: bool = False) -> str:
    """Return why others may write a file or directory although its ``mode`` does not say so.

    Others are all users except the owner. The words follow the name; "" means that no list lets
    others write. ``inherited``: whether entries count that apply only to files created in the
    directory.
    """
    if not hasattr(os, "getxattr"):
        return ""
    shown = {
        _GROUP: _IN_MODE if mode & stat.S_IWGRP else 0,
        _EVERYONE: _IN_MODE if mode & stat.S_IWOTH else 0,
    }
    return _foreign_writers(where, shown, posix=False, inherited=inherited)


def is_posix(path: Path) -> bool:
    """Return whether the directory ``path`` has a POSIX list, or a default list for new files."""
    return any(isinstance(_read(path, name), bytes) for name in (POSIX, POSIX_DEFAULT))


def is_nfs4(path: Path) -> bool:
    """Return whether ``path`` has the access list of an NFSv4 server."""
    return isinstance(_read(path, NFS4), bytes)


def _foreign_writers(
    where: int | str | Path,
    shown: Mapping[str, int],
    *,
    posix: bool,
    inherited: bool = False,
) -> str:
    """Return why others may write ``where``; "" if no list lets them write.

    ``shown``: for each name in an NFSv4 list, the rights that do not count. ``posix``: whether a
    POSIX list can be a reason.
    """
    if not hasattr(os, "getxattr"):
        return "may have an access list, which Python cannot read on this system"
    for name in (POSIX, NFS4):
        found = _read(where, name)
        if isinstance(found, bytes):
            if name == NFS4:
                return _of_rules(found, shown, inherited=inherited)
            return _of_posix(found) if posix else ""
        if found.errno == _NO_LIST:
            return ""  # a file system has lists of only one kind
        if found.errno != errno.EOPNOTSUPP:
            return f"has an access list that cannot be read ({found.strerror})"
    for name in _FOREIGN:
        found = _read(where, name)
        if isinstance(found, bytes) or found.errno not in (_NO_LIST, errno.EOPNOTSUPP):
            return f"has an access list that pip-sharedcache cannot decode ({name})"
    kind = mounts.kind_of(where)
    return f"may have an access list, which {kind} does not show" if kind in _HIDDEN else ""


def _of_rules(value: bytes, shown: Mapping[str, int], *, inherited: bool) -> str:
    try:
        rules = decode(value)
    except ValueError as error:
        return f"has an access list that cannot be decoded ({error})"
    for rule in rules:
        applies = rule.type == _ALLOW and (inherited or not rule.flags & _INHERIT_ONLY)
        if not applies or rule.who == _OWNER:
            continue
        if rule.rights & _CHANGES & ~shown.get(rule.who, 0):
            return _LETS_WRITE
    return ""


def _of_posix(value: bytes) -> str:
    """Return why accounts or groups that a POSIX list names may write; "" if none may.

    The mode shows what the other entries of the list let their users do.
    """
    rows, rest = divmod(len(value) - 4, _POSIX_ENTRY.size)
    if rows < 0 or rest or int.from_bytes(value[:4], "little") != _POSIX_VERSION:
        return "has an access list that cannot be decoded (it is not of the known version)"
    mask, named = _POSIX_WRITE, 0
    for kind, rights, _ in _POSIX_ENTRY.iter_unpack(value[4:]):
        if kind == _MASK:
            mask = rights
        elif kind in _NAMED:
            named |= rights
    return _LETS_WRITE if named & mask & _POSIX_WRITE else ""


def _read(where: int | str | Path, name: str) -> bytes | OSError:
    """Return the value of an access list, or the error of getxattr(2)."""
    if not hasattr(os, "getxattr"):
        return OSError(errno.EOPNOTSUPP, "Python cannot read access lists on this system")
    try:
        return os.getxattr(where, name, follow_symlinks=isinstance(where, int))
    except OSError as error:
        return error
