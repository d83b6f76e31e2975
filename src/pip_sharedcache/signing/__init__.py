"""Signatures of OpenSSH over derived data, where the owner of a file says nothing."""

from pip_sharedcache.signing.openssh import NAMESPACE, Signature, Signers, sign
from pip_sharedcache.signing.signed_data import (
    MOST_HEAD,
    LaterForm,
    SignedData,
    read_line,
    read_signed,
)
from pip_sharedcache.signing.statements import (
    BUILD,
    BYTECODE,
    RESOLUTION,
    BuildStatement,
    BytecodeStatement,
    ResolutionStatement,
    SignedFile,
    Statement,
    bytecode_key,
    read_statement,
    subject_digest,
    with_source_time,
    without_source_time,
)

__all__ = [
    "BUILD",
    "BYTECODE",
    "MOST_HEAD",
    "NAMESPACE",
    "RESOLUTION",
    "BuildStatement",
    "BytecodeStatement",
    "LaterForm",
    "ResolutionStatement",
    "Signature",
    "SignedData",
    "SignedFile",
    "Signers",
    "Statement",
    "bytecode_key",
    "read_line",
    "read_signed",
    "read_statement",
    "sign",
    "subject_digest",
    "with_source_time",
    "without_source_time",
]
