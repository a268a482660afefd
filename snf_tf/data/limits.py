"""What a file of data may be and hold, so that reading it ends, and cannot fill the memory."""

import os
from collections.abc import Iterator

# Images and tables shrink by less. The bytes are allowed to every file.
_FACTOR, _BYTES = 100, 256 * 2**20


def require_files(path: str | os.PathLike[str]) -> None:
    """Refuses pipes and devices, also in a folder: to read them may never end.

    Raises:
        ValueError: If there is one.
    """
    if not os.path.isdir(path):
        odd = iter([] if os.path.isfile(path) else [os.fspath(path)])
    else:
        odd = _no_files(os.fspath(path))
    for name in odd:
        raise ValueError(
            f"Data must be files, no pipes, no devices and no broken links. Received: {name}"
        )


def _no_files(folder: str) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _no_files(entry.path)
            elif not (entry.is_file() or entry.is_dir()):
                yield entry.path


def largest_content(stored: int) -> int:
    """Returns how many bytes a file of a size may hold."""
    return _FACTOR * stored + _BYTES


def check_content(path: str | os.PathLike, size: int, stored: int) -> None:
    """Checks how many bytes a file says that it holds, before they are read.

    Args:
        path: Of the file, for the message.
        size: What it says, in bytes.
        stored: Its own size.

    Raises:
        ValueError: If that is more than compression explains.

    Example:
        >>> check_content("x.gz", size=10**12, stored=1000)
        Traceback (most recent call last):
        ...
        ValueError: x.gz must hold at most 100 times its size and 256 MiB: fetch it again, or \
store it uncompressed. Received: 1000000000000 bytes in a file of 1000
    """
    if not 0 <= size <= largest_content(stored):
        raise ValueError(
            f"{path} must hold at most {_FACTOR} times its size and {_BYTES >> 20} MiB: fetch it "
            f"again, or store it uncompressed. Received: {size} bytes in a file of {stored}"
        )
