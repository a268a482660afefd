"""Decides where examples lie: in memory, or, where they are many, on disk."""

import contextlib
import dataclasses
import fcntl
import hashlib
import os
import resource
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from snf_tf._checks import check_integer, check_path
from snf_tf.data.stored import StoredArray, lies_by_columns
from snf_tf.data.tables import map_npy, read_npy

# A file of another layout must have another name.
_LAYOUT = "1"
# Bytes of the rows of a table that are read at once.
_PART = 2**24


@dataclasses.dataclass(frozen=True)
class Storage:
    """Keeps arrays in memory up to a limit, and larger ones in a cache on disk.

    Attributes:
        memory_limit: Bytes of the largest array that is kept in memory; None: a quarter of what
            this process may take.
        cache_dir: Directory of the files of larger arrays, if their originals are not read row by
            row; None: `snf_tf_cache` beside the originals.

    Example:
        >>> import tempfile
        >>> parts = lambda: iter([np.zeros((2, 3)), np.ones((1, 3))])
        >>> Storage().keep("zeros", parts, []).shape
        (3, 3)
        >>> type(Storage(8, tempfile.mkdtemp()).keep("zeros", parts, [])).__name__
        'StoredArray'
    """

    memory_limit: int | None = None
    cache_dir: str | os.PathLike | None = None

    def __post_init__(self):
        check_integer("memory_limit", self.memory_limit, 0, optional=True, at_most=2**63 - 1)
        check_path("cache_dir", self.cache_dir, optional=True)

    @property
    def limit(self) -> int:
        """Bytes of the largest array that is kept in memory."""
        return _usable_memory() // 4 if self.memory_limit is None else self.memory_limit

    def read_npy(self, path: Path) -> np.ndarray | StoredArray:
        """Returns the array of a `.npy` file, of any kind where it fits into memory."""
        if path.stat().st_size <= self.limit:
            return read_npy(path)
        if lies_by_columns(path):
            return self.keep(path.stem, lambda: _row_parts(path), [path])
        return StoredArray([path])

    def load(self, paths: Sequence[Path]) -> np.ndarray | StoredArray:
        """Returns the array of `.npy` files, one continuing the other: read whole, or stored."""
        stored = StoredArray(paths)
        return stored if stored.nbytes > self.limit else stored[:]

    def keep(
        self,
        name: str,
        parts: Callable[[], Iterable[np.ndarray]],
        originals: Sequence[Path],
        beside: Path | None = None,
    ) -> np.ndarray | StoredArray:
        """Returns the array of parts.

        What does not fit into memory is written to a file, from where a later call takes it, if the
        originals have not changed since. Of several processes one writes, and the others wait.

        Args:
            name: Of the array, for its file.
            parts: Reads the parts, `(n, ...)` each, one after the other.
            originals: The files, or folders, that the parts are read from.
            beside: Directory of the cache, if there is no `cache_dir`; None: that of the first
                original.
        """
        if self.cache_dir is not None:
            directory = Path(self.cache_dir).expanduser()
        else:
            directory = (beside or (originals[0].parent if originals else Path())) / "snf_tf_cache"
        path = directory / f"{name.replace('/', '-')}-{_digest(name, originals)}.npy"
        if path.exists():
            return self.load([path])
        limit, size, head = self.limit, 0, []
        remaining = iter(parts())
        for part in remaining:
            head.append(part)
            size += part.nbytes
            if size > limit:
                break
        else:
            return np.concatenate(head)
        with _locked(directory, name):
            if not path.exists():
                _write(path, _chained(head, remaining))
        return self.load([path])


def _row_parts(path: Path) -> Iterator[np.ndarray]:
    mapped = map_npy(path)
    count = max(1, _PART // max(1, mapped[:1].nbytes))
    for first in range(0, len(mapped), count):
        yield np.array(mapped[first : first + count], order="C")


@contextlib.contextmanager
def _locked(directory: Path, name: str) -> Iterator[None]:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = open(directory / f".{name.replace('/', '-')}.lock", "w")  # noqa: SIM115
    except OSError as error:
        raise ValueError(
            "The data are more than memory_limit, and cannot be stored: give load_dataset.cache_dir"
            f" a directory with room. Received: cache_dir={directory}: {error}"
        ) from error
    with lock:
        # The system frees the lock when the process ends, however it ends.
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _chained(head: list[np.ndarray], remaining: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Yields the parts that were read, each of which is freed then, and the others."""
    while head:
        yield head.pop(0)
    yield from remaining


def _write(path: Path, parts: Iterator[np.ndarray]) -> None:
    """Writes a `.npy` file from its parts, in one step: a reader sees none or the whole."""
    temporary = path.with_name(f".{path.name}.unfinished")
    first = next(parts)
    rows = len(first)
    try:
        with open(temporary, "wb") as file:
            _write_header(file, first, rows)
            start = file.tell()
            first.tofile(file)
            for part in parts:
                part.tofile(file)
                rows += len(part)
            file.seek(0)
            _write_header(file, first, rows)
            # NumPy leaves room in a header for the digits of a growing first axis.
            assert file.tell() == start
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _write_header(file, part, rows):
    header = np.lib.format.header_data_from_array_1_0(part) | {
        "fortran_order": False,
        "shape": (rows, *part.shape[1:]),
    }
    np.lib.format.write_array_header_1_0(file, header)


def _digest(name, originals):
    """Changes with the name of an array, and with its originals."""
    found = [_LAYOUT, name]
    for original in originals:
        files = sorted(original.rglob("*")) if original.is_dir() else [original]
        for file in files:
            status = file.stat()
            if not file.is_dir():
                found.append(f"{file.name} {status.st_size} {status.st_mtime_ns}")
    return hashlib.sha256("\n".join(found).encode()).hexdigest()[:16]


def _usable_memory() -> int:
    """Returns how many bytes this process may take: the least of all limits that are found."""
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA, resource.RLIMIT_RSS):
        limit = resource.getrlimit(kind)[0]
        if limit != resource.RLIM_INFINITY:
            limits.append(limit)
    for path in _control_groups():
        with contextlib.suppress(OSError, ValueError):
            limits.append(int(path.read_text()))
    return min(limits)


def _control_groups() -> Iterator[Path]:
    """Names the files that may hold a limit of this process' control groups, of both versions."""
    root = Path("/sys/fs/cgroup")
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, kinds, group = line.split(":", 2)
        if kinds and "memory" not in kinds.split(","):
            continue
        top, name = (root / "memory", "memory.limit_in_bytes") if kinds else (root, "memory.max")
        place = top / group.strip("/")
        while place != top.parent:
            yield place / name
            place = place.parent
