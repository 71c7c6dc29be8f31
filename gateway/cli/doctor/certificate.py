"""How long the certificate of a TLS server is good for, and what is wrong with one that is not believed."""

from __future__ import annotations

import socket
import ssl
import time
from urllib.parse import urlsplit

import trio

from gateway.cli.doctor.finding import Finding, fail, ok, warn

SOON_DAYS = 21
"""An automatic renewal has failed by then: ACME clients renew 30 days ahead."""
_EXPIRED = 10  # X509_V_ERR_CERT_HAS_EXPIRED
_WRONG_NAME = 62  # X509_V_ERR_HOSTNAME_MISMATCH


async def check(url: str, *, timeout_s: float) -> list[Finding]:
    """What is to be said of the certificate at `url`; nothing for http, or where nobody can be reached.

    It is checked as the gateway does: against the certificate authorities of the operating system.
    """
    parts = urlsplit(url)
    if parts.scheme != "https" or parts.hostname is None:
        return []
    return await trio.to_thread.run_sync(_check, parts.hostname, parts.port or 443, timeout_s, abandon_on_cancel=True)


def _check(host: str, port: int, timeout_s: float) -> list[Finding]:
    context = ssl.create_default_context()
    try:
        with (
            socket.create_connection((host, port), timeout_s) as plain,
            context.wrap_socket(plain, server_hostname=host) as secured,
        ):
            return [_lifetime(host, secured.getpeercert() or {})]
    except ssl.SSLCertVerificationError as error:
        return [_not_believed(host, error)]
    except ssl.SSLError as error:
        reason = (error.reason or "no reason given").lower().replace("_", " ")
        fix = f"openssl s_client -connect {host}:{port} -servername {host} shows what it offers; it needs TLS 1.2"
        return [fail(f"{host} does not agree on TLS: {reason}.", fix=fix)]
    except OSError:
        return []  # Whoever asked will say that nobody can be reached.


def _lifetime(host: str, certificate: ssl._PeerCertRetDictType) -> Finding:
    days = int((ssl.cert_time_to_seconds(str(certificate["notAfter"])) - time.time()) // 86_400)
    if days < SOON_DAYS:
        text = f"The certificate of {host} expires in {days} days: after that nobody believes it."
        return warn(text, fix=f"renew it, and see why that was not done by itself {SOON_DAYS} days ahead")
    return ok(f"certificate of {host}: {days} days left")


def _not_believed(host: str, error: ssl.SSLCertVerificationError) -> Finding:
    what = f"The certificate of {host} is not believed: {error.verify_message}."
    if error.verify_code == _EXPIRED:
        return fail(what, fix=f"renew the certificate of {host}")
    if error.verify_code == _WRONG_NAME:
        return fail(what, fix="use the name that it was issued for, or have it issued for this one")
    fix = (
        "add its authority to those of the operating system (Debian: put the PEM file into "
        "/usr/local/share/ca-certificates as .crt and run update-ca-certificates), or set SSL_CERT_FILE for the gateway"
    )
    return fail(what, fix=fix)
