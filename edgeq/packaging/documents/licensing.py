"""Licences as SPDX expressions, which bills of materials and wheels must have."""

from __future__ import annotations

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

from edgeq.errors import UsageError


def read_license(text: str) -> str:
    """An SPDX expression as SPDX spells it, e.g. "Apache-2.0 OR MIT" for "apache-2.0 or mit".

    Raises:
        UsageError: not an expression, or with a licence that SPDX does not list.
    """
    try:
        return str(canonicalize_license_expression(text))
    except InvalidLicenseExpression as error:
        raise UsageError(
            f"--license {text!r} is not an SPDX expression: {str(error).rstrip('.')}.",
            hint="Type e.g. Apache-2.0, or LicenseRef-Proprietary for an unlisted licence.",
        ) from error
