"""Signatures over a package's sums: Ed25519 (RFC 8032) with keys in PEM files."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from edgeq.errors import UsageError
from edgeq.files.reading import read_file

PASSWORD = "EDGEQ_SIGNING_PASSWORD"
_MOST_BYTES = 1 << 20
_HOW = "Make one: openssl genpkey -algorithm ed25519 -out key.pem"
_HOW_PUBLIC = "Make it from the private one: openssl pkey -in key.pem -pubout -out key.pub.pem"


def _read(path: Path, hint: str) -> bytes:
    try:
        return read_file(path, _MOST_BYTES)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}.", hint=hint) from error


def read_private_key(path: Path) -> Ed25519PrivateKey:
    """A key to sign with; the password of an encrypted one is in EDGEQ_SIGNING_PASSWORD.

    Raises:
        UsageError: unreadable, encrypted without the right password, or another kind of key.
    """
    content, password = _read(path, _HOW), os.environ.get(PASSWORD)
    # This finds both the new and the old way to encrypt. A key without a password gets none.
    is_encrypted = b"ENCRYPTED" in content
    if is_encrypted and not password:
        raise UsageError(
            f"{path} has a password, and {PASSWORD} is not set.",
            hint=f"Type it without echo: read -rs {PASSWORD}; export {PASSWORD}",
        )
    try:
        key = load_pem_private_key(
            content, password.encode() if is_encrypted and password else None
        )
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        if is_encrypted:
            raise UsageError(f"{path} cannot be opened with the password in {PASSWORD}.") from error
        raise UsageError(f"{path} is not a private key in PEM.", hint=_HOW) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError(f"{path} is a {type(key).__name__}, not an Ed25519 key.", hint=_HOW)
    return key


def read_public_key(path: Path) -> Ed25519PublicKey:
    """A key to check with.

    Raises:
        UsageError: unreadable, or another kind of key.
    """
    return parse_public_key(_read(path, _HOW_PUBLIC), str(path))


def parse_public_key(content: bytes, shown_as: str) -> Ed25519PublicKey:
    """A public key from PEM.

    Raises:
        UsageError: another kind of key, or none.
    """
    try:
        key = load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UsageError(f"{shown_as} is not a public key in PEM.") from error
    if not isinstance(key, Ed25519PublicKey):
        raise UsageError(f"{shown_as} is a {type(key).__name__}, not an Ed25519 key.")
    return key


def public_pem(key: Ed25519PrivateKey | Ed25519PublicKey) -> bytes:
    """The public key as PEM."""
    public = key.public_key() if isinstance(key, Ed25519PrivateKey) else key
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def is_signed(content: bytes, signature: bytes, key: Ed25519PublicKey) -> bool:
    """Whether this key made the signature of this content."""
    try:
        key.verify(signature, content)
    except InvalidSignature:
        return False
    return True


def fingerprint(key: Ed25519PublicKey) -> str:
    """How people tell keys apart: the first 16 digits of the SHA-256 of its 32 bytes."""
    return hashlib.sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()[:16]
