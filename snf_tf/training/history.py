"""`history.csv`: a row for every epoch, appended when the epoch ends."""

import csv
import hashlib
import io
import os
from collections.abc import Mapping
from pathlib import Path


class History:
    """Keeps the logs of a run's epochs in a file that only grows.

    An epoch's row is on disk before its checkpoint. After a kill the file may therefore hold more
    than the checkpoint knows of, and a half-written line; both are cut off.

    Args:
        path: The file, `history.csv`.
        epochs: Number of epochs that the checkpoint knows of.
        writes: Whether this process is the one, of several workers of the run, that writes.
        digest: `digest()` of these epochs, as the checkpoint knows it; None: not known.

    Attributes:
        rows: What the file holds of every epoch, but for the statistics of layers, whose names have
            a slash.

    Raises:
        ValueError: If the file holds fewer rows than `epochs`, or others than were written.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "history.csv"
        >>> History(path, epochs=0).append({"epoch": 1, "val_nll": 2.5})
        >>> History(path, epochs=1).rows
        [{'epoch': 1.0, 'val_nll': 2.5}]
    """

    def __init__(
        self, path: Path, epochs: int, writes: bool = True, digest: str | None = None
    ) -> None:
        self._path = path
        self._writes = writes
        content = path.read_bytes() if path.is_file() else b""
        lines = [line for line in content.splitlines(keepends=True) if line.endswith(b"\n")]
        kept = lines[: epochs + 1] if epochs else []
        if epochs and len(kept) <= epochs:
            raise ValueError(
                "history.csv lacks rows of epochs that the checkpoint knows of: put the file back, "
                f"or begin anew in another run_dir. Received: {max(len(kept) - 1, 0)} rows of "
                f"{epochs}, in {path}"
            )
        self._hash = hashlib.sha256(b"".join(kept))
        if digest is not None and digest != self.digest():
            raise ValueError(
                "history.csv must be as the run has written it, and is damaged: put the file back, "
                f"or begin anew in another run_dir. Received: {path}"
            )
        if writes and len(content) > sum(map(len, kept)):
            os.truncate(path, sum(map(len, kept)))
        reader = csv.DictReader(io.StringIO(b"".join(kept).decode()))
        self._names: list[str] = list(reader.fieldnames or ())
        self.rows = [_scalars(row) for row in reader]

    def append(self, row: Mapping[str, float]) -> None:
        """Adds the row of an epoch; the first one names the columns.

        Args:
            row: Values by name; where one is missing, its cell stays empty.
        """
        self.rows.append(_scalars(row))
        if not self._writes:
            return
        text = io.StringIO()
        writer = csv.DictWriter(text, self._names or list(row), lineterminator="\n")
        if not self._names:
            self._names = list(row)
            writer.writeheader()
        writer.writerow(row)
        with open(self._path, "a") as file:
            file.write(text.getvalue())
            self._hash.update(text.getvalue().encode())
            file.flush()
            # The checkpoint that follows must not be on disk without the row.
            os.fsync(file.fileno())

    def digest(self) -> str:
        """Returns the digest of all rows."""
        return self._hash.hexdigest()


def _scalars(row: Mapping) -> dict[str, float]:
    return {name: float(value) for name, value in row.items() if "/" not in name}
