"""Public files over HTTP into a cache, checked against known checksums, by pooch.

A file gets its name in the cache only when its checksum is right: a transfer that is cut off leaves nothing behind.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

TIMEOUT_S = 20.0
"""For a connection, and for the next bytes of a transfer."""


@dataclass(frozen=True)
class Download:
    """file: its name. checksum: "sha256:..." or "md5:...". num_bytes: at most; a transfer that brings more is broken off.
    mirrors: addresses of the folders that hold it, tried in turn."""

    file: str
    checksum: str
    num_bytes: int
    mirrors: tuple[str, ...]


def fetch(name: str, download: Download) -> Path:
    """The path of the file in the cache, where it is fetched to unless it is there. name: of the data set.

    Raises ValueError, one line, with the reason for each mirror.
    """
    import pooch  # with the HTTP library that it brings: only runs that fetch pay
    from requests import RequestException

    cache = Path(pooch.os_cache("wsim")) / name
    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel(logging.WARNING)
    reasons = []
    try:
        for mirror in download.mirrors:
            url, host = mirror + download.file, urlsplit(mirror).netloc
            downloader = pooch.HTTPDownloader(
                progressbar=_Meter(download),
                chunk_size=1 << 16,
                timeout=TIMEOUT_S,
                headers={"Accept-Encoding": "identity"},  # a packed file is not to be unpacked on the way
            )
            try:
                path = pooch.retrieve(url, download.checksum, download.file, cache, downloader=downloader)
            except (RequestException, ValueError) as error:
                reasons.append(f"{host}: {_reason(error)}")
            except OSError as error:
                raise ValueError(f"{name} cannot be kept in {cache}: {error.strerror or error}") from None
            else:
                return Path(path)
    finally:
        logger.setLevel(level)
    raise ValueError(f"{name}: {download.file} cannot be fetched ({', '.join(reasons)})")


class _Meter:
    """Counts the bytes of a transfer, and shows them where somebody sits at a terminal. The interface is pooch's."""

    def __init__(self, download: Download) -> None:
        self._download = download
        self._shown = sys.stderr.isatty()
        self._received = 0
        self.total = 0

    def update(self, num_bytes: int) -> None:
        self._received += num_bytes
        if self._received > self._download.num_bytes + num_bytes:
            raise ValueError("longer than the file that is expected")
        if self._shown:
            of = f" of {self.total / 1e6:.1f}" if self.total else ""
            sys.stderr.write(f"\r{self._download.file}: {self._received / 1e6:.1f}{of} MB ")
            sys.stderr.flush()

    def reset(self) -> None:
        self._received = 0

    def close(self) -> None:
        if self._shown:
            sys.stderr.write("\n")


def _reason(error: Exception) -> str:
    """A few words instead of the whole chain of exceptions of an HTTP library."""
    from requests import exceptions

    if isinstance(error, exceptions.HTTPError) and error.response is not None:
        return f"{error.response.status_code} {error.response.reason}"
    if isinstance(error, exceptions.Timeout) or "timed out" in str(error):
        return "no answer in time"
    if isinstance(error, exceptions.ChunkedEncodingError):
        return "the transfer was cut off"
    if isinstance(error, ValueError) and "hash of downloaded file" in str(error):
        return "wrong checksum"
    for cause in _causes(error):
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
    return " ".join(str(error).split())


def _causes(error: BaseException) -> Iterator[BaseException]:
    """What an exception was raised for, the innermost last; HTTP libraries keep it in several places."""
    cause: Any = error
    for _ in range(10):
        yield cause
        inner = (*cause.args, getattr(cause, "reason", None), cause.__cause__, cause.__context__)
        cause = next((other for other in inner if isinstance(other, BaseException)), None)
        if cause is None:
            return
