"""Reads the splits of a data set from TFDS, the original files, or an installed package."""

import dataclasses
import json
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from snf_tf.data.limits import require_files
from snf_tf.data.splits import Split, Splits
from snf_tf.data.storage import Storage

# Examples of TFDS that are read at once.
_PART = 256


@dataclasses.dataclass(frozen=True)
class Sources:
    """The sources of one data set. All give the splits (train, validation, test).

    Attributes:
        embedded: Reads the splits that an installed package brings, or draws from a density. None
            where there are none.
        embedded_name: The name of the data set that `embedded` reads, where it is another one.
        tfds_name: Name in TensorFlow Datasets, with the config where there is one. None where TFDS
            does not have the data set.
        tfds_splits: TFDS' names of the three splits.
        download_host: The host that TFDS downloads from. Empty where it does not download.
        prepare: Maps an image of TFDS, uint8 `(H, W, C)`, to an example. None where it is one.
        files: Names of the original files that `from_files` reads; "A|B" where one of two is
            enough. A name may be a pattern of `Path.glob`, or a folder's.
        from_files: Reads the original files from a directory.
        from_large_files: The same where they may be more than memory takes; it is given a Storage,
            too.
        entropy: In nats, of a density where it is known.
        classes: Number of classes, where TFDS' or the original examples have labels.
    """

    embedded: Callable[[], Splits] | None = None
    embedded_name: str | None = None
    tfds_name: str | None = None
    tfds_splits: tuple[str, str, str] | None = None
    download_host: str = ""
    prepare: Callable[[tf.Tensor], tf.Tensor] | None = None
    files: tuple[str, ...] = ()
    from_files: Callable[[Path], Splits] | None = None
    from_large_files: Callable[[Path, Storage], Splits] | None = None
    entropy: float | None = None
    classes: int | None = None

    def read_files(self, data_dir: Path | None, storage: Storage) -> Splits:
        """Reads the original files; the storage is where examples go.

        Raises:
            FileNotFoundError: If data_dir is None, or lacks a file.
            ValueError: If a file is damaged, or there are no such files.
        """
        if self.from_files is None and self.from_large_files is None:
            raise ValueError(
                'This data set has no files: source="embedded" or "auto". Received: source="files"'
            )
        missing = self.missing_files(data_dir)
        if missing:
            needed, not_found = (
                ", ".join(names).replace("|", " or ") for names in (self.files, missing)
            )
            raise FileNotFoundError(
                f'source="files" needs {needed} in data_dir; {not_found} not found. '
                f"Received: data_dir={data_dir}"
            )
        assert data_dir is not None
        for pattern in "|".join(self.files).split("|"):
            for path in data_dir.glob(pattern):
                require_files(path)
        if self.from_large_files is not None:
            return self.from_large_files(data_dir, storage)
        assert self.from_files is not None
        return self.from_files(data_dir)

    def read_embedded(self) -> Splits:
        """Reads what an installed package brings.

        Raises:
            ValueError: If no package brings the data set.
        """
        if self.embedded is None:
            raise ValueError('No package brings this data set: source="embedded" is not to be had.')
        return self.embedded()

    def missing_files(self, data_dir: Path | None) -> list[str]:
        """Returns the names of the original files that data_dir lacks."""
        return [
            names
            for names in self.files
            if data_dir is None or not any(any(data_dir.glob(name)) for name in names.split("|"))
        ]

    def is_prepared(self, data_dir: Path | None) -> bool:
        """Tells whether TFDS has the data set on disk.

        Looks at files only: TFDS itself would ask the network.
        """
        return self._prepared_directory(data_dir) is not None

    def read_tfds(self, data_dir: Path | None, storage: Storage) -> Splits:
        """Reads the data set by TFDS, which downloads and prepares it first where needed.

        The storage is where examples go.

        Raises:
            ConnectionError: If TFDS must download the data set, and the host does not answer within
                3 s.
            FileNotFoundError: If TFDS has not prepared the data set, and does not download it.
            ValueError: If TFDS does not have the data set.
        """
        if self.tfds_name is None or self.tfds_splits is None:
            raise ValueError(
                'TFDS does not have this data set: source="embedded" or "auto". '
                'Received: source="tfds"'
            )
        import tensorflow_datasets as tfds

        prepared = self._prepared_directory(data_dir)
        if prepared is None:
            if not self.download_host:
                raise FileNotFoundError(
                    f"TFDS does not download {self.tfds_name}: its page says how to prepare it. "
                    f"Received: data_dir={data_dir}"
                )
            if not self.can_download():
                raise ConnectionError(
                    f"TFDS has not prepared {self.tfds_name}, and {self.download_host}, from "
                    "where it would be downloaded, does not answer. "
                    f"Received: data_dir={data_dir}"
                )
            builder = tfds.builder(self.tfds_name, data_dir=data_dir)
            builder.download_and_prepare()
        else:
            _require_features_of_tfds(prepared / "features.json")
            builder = tfds.builder_from_directory(prepared)
        train, validation, test = (
            self._read_split(builder, name, storage) for name in self.tfds_splits
        )
        return train, validation, test

    def _read_split(self, builder, name: str, storage: Storage) -> Split:
        import tensorflow_datasets as tfds

        def parts(feature, decoders=None):
            examples = builder.as_dataset(split=name, decoders=decoders)
            # One by one: as they are, the images of CelebA would not fit into memory.
            mapped = examples.map(feature, num_parallel_calls=tf.data.AUTOTUNE)
            return mapped.batch(_PART).as_numpy_iterator()

        def image(features):
            return features["image"] if self.prepare is None else self.prepare(features["image"])

        directory = Path(builder.data_dir)
        images = storage.keep(f"{self.tfds_name}-{name}", lambda: parts(image), [directory])
        if self.classes is None:
            return Split(images)
        skipped = {"image": tfds.decode.SkipDecoding()}
        labels = list(parts(lambda features: tf.cast(features["label"], tf.int32), skipped))
        return Split(images, np.concatenate(labels))

    def can_download(self, seconds: float = 3.0) -> bool:
        """Tells whether the host answers in time; TFDS itself would go on trying for minutes."""
        answers: list[bool] = []

        def probe():
            try:
                socket.create_connection((self.download_host, 443), timeout=seconds).close()
                answers.append(True)
            except OSError:
                pass

        # In a thread, because the look-up of the name has no timeout.
        thread = threading.Thread(target=probe, daemon=True)
        thread.start()
        thread.join(seconds)
        return bool(answers)

    def _prepared_directory(self, data_dir: Path | None) -> Path | None:
        if self.tfds_name is None:
            return None
        import tensorflow_datasets as tfds

        root = Path(data_dir or tfds.core.constants.DATA_DIR).expanduser() / self.tfds_name
        versions = sorted(path.parent for path in root.glob("*/dataset_info.json"))
        return versions[-1] if versions else None


def _require_features_of_tfds(path: Path) -> None:
    """Refuses classes of others: TFDS would import their modules, and so run their code."""
    try:
        pending = [json.loads(path.read_bytes())]
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(
            f"A prepared data set of TFDS must have its features.json. Received: {path}: {error}"
        ) from None
    while pending:
        value = pending.pop()
        if isinstance(value, list):
            pending += value
        if not isinstance(value, dict):
            continue
        pending += value.values()
        for name in (value.get("type"), value.get("pythonClassName")):
            if name is not None and not str(name).startswith("tensorflow_datasets.core.features."):
                raise ValueError(
                    f"The features of a prepared data set must be of TFDS. Received: {path}, with "
                    f"{str(name)[:100]!r}"
                )
