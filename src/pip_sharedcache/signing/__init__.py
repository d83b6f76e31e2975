"""Signatures of OpenSSH over derived data, where the owner of a file says nothing."""

from pip_sharedcache.signing.openssh import NAMESPACE, Signature, Signers, sign

__all__ = ["NAMESPACE", "Signature", "Signers", "sign"]
