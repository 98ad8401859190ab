"""Fetching public files, from a server on this machine: what arrives whole is kept, everything else leaves nothing behind."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from learners import registry
from learners.data import cifar, fetching, mnist
from learners.data.fetching import Download, fetch
from tests.learners import data_files
from tests.learners.data_files import NUM_TRAIN, pixels_and_labels

CONTENT = np.random.default_rng(1).bytes(200_000)
CHECKSUM = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


class Server(http.server.ThreadingHTTPServer):
    """files: path -> content. fault: how a request for a path is answered instead."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.fault: dict[str, str] = {}
        self.requested: list[str] = []
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        path = self.path.lstrip("/")
        self.server.requested.append(path)
        fault = self.server.fault.get(path, "")
        content = self.server.files.get(path)
        if content is None:
            self.send_error(404, "Not Found")
            return
        self.send_response(200)
        if fault != "endless":
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if fault == "cut":
            content = content[: len(content) // 2]
        elif fault == "wrong":
            content = bytes(len(content))
        elif fault == "silent":
            threading.Event().wait(2.0)
            return
        elif fault == "endless":
            content *= 100
        try:
            self.wfile.write(content)
        except OSError:
            assert fault == "endless"

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as found:
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield found
        finally:
            found.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of this test; nothing else is found on this machine."""
    for variable in ("WSIM_DATA", "http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "wsim"


def closed_port() -> str:
    """An address where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/"


def download(*mirrors: str) -> Download:
    return Download("numbers.bin", CHECKSUM, len(CONTENT), mirrors)


def everything_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_a_good_file_is_fetched_once(server: Server, cache: Path) -> None:
    server.files["numbers.bin"] = CONTENT
    path = fetch("numbers", download(server.address))
    assert path == cache / "numbers" / "numbers.bin"
    assert path.read_bytes() == CONTENT
    assert fetch("numbers", download(server.address)) == path
    assert server.requested == ["numbers.bin"]
    assert everything_in(cache) == ["numbers.bin"]


def test_a_file_that_was_spoilt_in_the_cache_is_fetched_again(server: Server, cache: Path) -> None:
    server.files["numbers.bin"] = CONTENT
    path = fetch("numbers", download(server.address))
    path.write_bytes(CONTENT[:100])
    assert fetch("numbers", download(server.address)).read_bytes() == CONTENT


def test_a_packed_file_arrives_packed(server: Server) -> None:
    """A server may label .gz files as gzip-encoded on the way, and an HTTP library would unpack them."""
    packed = gzip.compress(CONTENT)
    server.files["numbers.gz"] = packed
    checksum = f"md5:{hashlib.md5(packed).hexdigest()}"
    assert fetch("numbers", Download("numbers.gz", checksum, len(packed), (server.address,))).read_bytes() == packed


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("wrong", "wrong checksum"),
        ("cut", "the transfer was cut off"),
        ("endless", "longer than the file that is expected"),
        ("silent", "no answer in time"),
        ("missing", "404 Not Found"),
    ],
)
def test_a_bad_transfer_leaves_nothing_behind(
    fault: str, reason: str, server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "TIMEOUT_S", 0.5)
    if fault != "missing":
        server.files["numbers.bin"] = CONTENT
    server.fault["numbers.bin"] = fault
    message = rf"^numbers: numbers.bin cannot be fetched \(127.0.0.1:\d+: ({reason})\)$"
    with pytest.raises(ValueError, match=message):
        fetch("numbers", download(server.address))
    assert everything_in(cache) == []
    server.files["numbers.bin"] = CONTENT
    server.fault.clear()
    assert fetch("numbers", download(server.address)).read_bytes() == CONTENT, "the next attempt is not disturbed"


def test_a_refused_connection(cache: Path) -> None:
    with pytest.raises(ValueError, match=r"numbers.bin cannot be fetched \(127.0.0.1:\d+: Connection refused\)"):
        fetch("numbers", download(closed_port()))
    assert everything_in(cache) == []


def test_the_next_mirror_is_tried(server: Server) -> None:
    server.files |= {"a/numbers.bin": CONTENT, "b/numbers.bin": CONTENT}
    server.fault["a/numbers.bin"] = "wrong"
    mirrors = closed_port(), server.address, f"{server.address}a/", f"{server.address}b/"
    assert fetch("numbers", download(*mirrors)).read_bytes() == CONTENT
    with pytest.raises(ValueError, match=r"\(127.*: Connection refused, 127.*: 404 Not Found, 127.*: wrong checksum\)"):
        fetch("others", download(*mirrors[:3]))


def test_a_cache_that_cannot_be_written(server: Server, cache: Path) -> None:
    cache.parent.mkdir()
    cache.write_text("a file where the folder should be")
    server.files["numbers.bin"] = CONTENT
    with pytest.raises(ValueError, match=f"numbers cannot be kept in {cache}/numbers: "):
        fetch("numbers", download(server.address))


# -- whole sets -------------------------------------------------------------------------------------------------------


def offer_mnist(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small MNIST on the server, with its own checksums."""
    files = {f"{name}.gz": gzip.compress(data) for name, data in data_files.mnist_files().items()}
    server.files |= files
    small = replace(
        mnist.MNIST,
        num_train=data_files.NUM_TRAIN,
        num_test=data_files.NUM_TEST,
        mirrors=(server.address,),
        sha256=tuple(hashlib.sha256(data).hexdigest() for data in files.values()),
        num_bytes=tuple(len(data) for data in files.values()),
    )
    monkeypatch.setattr(mnist, "MNIST", small)


def test_a_set_that_lies_nowhere_is_fetched(server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer_mnist(server, monkeypatch)
    monkeypatch.setenv("WSIM_DATA", str(cache.parent.parent))  # a folder without the set
    data = mnist.mnist(np.random.default_rng(1))
    assert np.array_equal(data.train_inputs[:, 0], pixels_and_labels(1, NUM_TRAIN, (28, 28))[0])
    assert everything_in(cache) == sorted(server.files)
    mnist.mnist(np.random.default_rng(1))
    assert len(server.requested) == 4


def test_an_archive_is_fetched(server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {f"cifar-10-batches-bin/{name}": data for name, data in data_files.cifar10_files().items()}
    archive = data_files.tar(files, "w:gz")
    server.files["cifar-10-binary.tar.gz"] = archive
    source = replace(
        cifar.CIFAR10.downloads[0], mirrors=(server.address,), checksum=f"md5:{hashlib.md5(archive).hexdigest()}"
    )
    small = replace(cifar.CIFAR10, num_train=data_files.NUM_TRAIN, num_test=data_files.NUM_TEST, downloads=(source,))
    monkeypatch.setattr(cifar, "CIFAR10", small)
    data = cifar.cifar10(np.random.default_rng(1))
    assert np.array_equal(data.train_inputs, pixels_and_labels(1, NUM_TRAIN, (3, 32, 32))[0])
    assert everything_in(cache) == ["cifar-10-binary.tar.gz"]


def test_one_that_cannot_be_fetched_says_what_to_do(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer_mnist(server, monkeypatch)
    server.fault["t10k-images-idx3-ubyte.gz"] = "cut"
    advice = (
        "name the folder that holds train-images-idx3-ubyte ... by the key folder or the environment variable WSIM_DATA"
    )
    with pytest.raises(ValueError, match=f"mnist: t10k-images-idx3-ubyte.gz cannot be fetched .*; {advice}"):
        mnist.mnist(np.random.default_rng(1))
    assert everything_in(cache) == ["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"]
    monkeypatch.setenv("WSIM_DATA", str(cache / "nowhere"))
    with pytest.raises(ValueError, match="WSIM_DATA = '.*nowhere': there is no such folder"):
        mnist.mnist(np.random.default_rng(1))


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10", "cifar100"])
def test_every_public_set_has_checksums_and_mirrors(name: str) -> None:
    chosen = {"mnist": mnist.MNIST, "fashion_mnist": mnist.FASHION_MNIST} | {
        "cifar10": cifar.CIFAR10,
        "cifar100": cifar.CIFAR100,
    }
    for source in chosen[name].downloads:  # type: ignore[attr-defined]
        kind, _, digest = source.checksum.partition(":")
        assert len(digest) == {"sha256": 64, "md5": 32}[kind]
        assert int(digest, 16) > 0
        assert all(mirror.startswith("http") and mirror.endswith("/") for mirror in source.mirrors)
        assert source.mirrors
    assert callable(registry.load("dataset", name))
