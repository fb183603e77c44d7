"""Certificates of a cluster's own: who has the files may talk to it, nobody else."""

from __future__ import annotations

import os
from pathlib import Path

from distributed import Security

from hpdp_dask.errors import InputError

CERTIFICATE, KEY = "certificate.pem", "key.pem"


def make_security(folder: Path) -> Security:
    """Make a certificate that signs itself, and its key, for all processes of one cluster.

    Parameters
    ----------
    folder : Path
        Made for the owner alone. Jobs on other machines read it, so these must see it.

    Returns
    -------
    distributed.Security
        Names the files. Nothing but TLS with this certificate on both sides is accepted.

    Raises
    ------
    InputError
        The folder cannot be written.
    """
    made = Security.temporary()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        _write(folder / CERTIFICATE, made.tls_ca_file)
        _write(folder / KEY, made.tls_client_key)
    except OSError as error:
        raise InputError(
            f"{folder}: certificates cannot be written ({error.strerror}); set shared-directory "
            "in the YAML to a folder that you may write."
        ) from error
    return load_security(folder)


def _write(path: Path, text: str) -> None:
    """Write a file that is the owner's alone from the beginning."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


def load_security(folder: Path) -> Security:
    """Read the certificates of a cluster.

    Parameters
    ----------
    folder : Path
        As `make_security` left it.

    Returns
    -------
    distributed.Security

    Raises
    ------
    InputError
        They are not there, or others may read them.
    """
    certificate, key = folder / CERTIFICATE, folder / KEY
    for path in (certificate, key):
        if not path.is_file():
            raise InputError(f"{path}: is not there; the cluster of these certificates has ended.")
        if path.stat().st_mode & 0o077:
            raise InputError(f"{path}: others may read it; take that away with chmod 600.")
    roles = ("client", "scheduler", "worker")
    return Security(
        require_encryption=True,
        tls_ca_file=str(certificate),
        **{f"tls_{role}_cert": str(certificate) for role in roles},
        **{f"tls_{role}_key": str(key) for role in roles},
    )
