"""The five tables of Papamakarios et al. (2017), prepared as in their published code.

All are scaled to mean 0 and variance 1, but for BSDS300: published likelihoods are of these
numbers.
"""

from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from snf_tf.data.limits import check_content
from snf_tf.data.sources import Sources
from snf_tf.data.splits import Splits
from snf_tf.data.tables import read_array, read_csv, splits_of
from snf_tf.data.unpickling import unpickle_table

_POWER, _MINIBOONE = "power/data.npy", "miniboone/data.npy"
_GAS = "gas/ethylene_CO.pickle|gas/ethylene_CO.csv"
_HEPMASS = ("hepmass/1000_train.csv", "hepmass/1000_test.csv")
_PARTS = ("train", "validation", "test")
_BSDS300 = "BSDS300/BSDS300.hdf5"


def _power(data_dir: Path) -> Splits:
    """Shuffles the rows, drops two of eight columns, and adds uniform noise to rounded ones.

    The columns are active and reactive power, voltage, intensity, three sub-meters, and the time
    of the day. Reactive power and intensity are left out.
    """
    data = read_array(data_dir / _POWER, columns=8)
    random = np.random.RandomState(42)
    random.shuffle(data)
    data = data[:, [0, 2, 4, 5, 6, 7]]
    count = len(data)
    # Drawn in the order of the published code.
    voltage, power = 0.01 * random.rand(count, 1), 0.001 * random.rand(count, 1)
    meters = random.rand(count, 3)
    data += np.hstack([power, voltage, meters, np.zeros((count, 1))])
    return _scaled(data_dir / _POWER, *_with_tenths(data, data_dir / _POWER))


def _gas(data_dir: Path) -> Splits:
    """Drops gases and time, and of columns that correlate by more than 0.98 all but the last."""
    path = next(data_dir / name for name in _GAS.split("|") if (data_dir / name).is_file())
    if path.suffix == ".csv":
        table = read_csv(path)
    else:
        try:
            table = unpickle_table(path.read_bytes())
            table = table.astype(np.float64)
        # A damaged or unexpected pickle raises errors of many kinds.
        except Exception as error:
            raise ValueError(
                f"{path} is damaged, or no table of numbers: {error}. If you trust the file, save "
                "it as ethylene_CO.csv: pandas.read_pickle(file).to_csv(csv_file, index=False)"
            ) from error
    missing = {"Meth", "Eth", "Time"} - set(table.columns)
    if missing:
        raise ValueError(
            f"{path} must have columns Time, Meth and Eth, which are left out. "
            f"Received: columns {', '.join(map(str, table.columns))}"
        )
    table = table.drop(columns=["Meth", "Eth", "Time"])
    while True:
        partners = (table.corr().to_numpy() > 0.98).sum(axis=1)
        if not (partners > 1).any():
            break
        table = table.drop(columns=table.columns[np.argmax(partners > 1)])
    data = ((table - table.mean()) / table.std()).to_numpy()
    return splits_of(path, *_with_tenths(data, path))


def _hepmass(data_dir: Path) -> Splits:
    """Takes signal alone, without columns whose least value repeats more than five times."""
    train, test = (_signal(data_dir / name) for name in _HEPMASS)
    # The published test file has a column more than the training file.
    test = test.iloc[:, : train.shape[1]]
    if list(train.columns) != list(test.columns):
        raise ValueError(
            f"{_HEPMASS[1]} must have the columns of {_HEPMASS[0]}. "
            f"Received: {list(test.columns)}, {list(train.columns)}"
        )
    mean, deviation = train.mean(), train.std()
    train, test = ((part - mean) / deviation for part in (train, test))
    values = train.to_numpy()
    kept = (values == values.min(axis=0)).sum(axis=0) <= 5
    train, test = values[:, kept], test.to_numpy()[:, kept]
    tenth = _tenth(train, data_dir / _HEPMASS[0])
    return splits_of(data_dir / _HEPMASS[0], train[:-tenth], train[-tenth:], test)


def _signal(path: Path) -> pd.DataFrame:
    table = read_csv(path)
    table = table[table.iloc[:, 0] == 1].iloc[:, 1:]
    if table.empty:
        raise ValueError(
            f"{path} must hold examples of class 1, by its first column. Received: none of them"
        )
    return table


def _miniboone(data_dir: Path) -> Splits:
    path = data_dir / _MINIBOONE
    return _scaled(path, *_with_tenths(read_array(path), path))


def _bsds300(data_dir: Path) -> Splits:
    """Reads patches of 8 x 8 pixels less their mean, without the last pixel: 63 numbers."""
    path = data_dir / _BSDS300
    try:
        with h5py.File(path, "r") as file:
            arrays = [file[name] for name in _PARTS]
            links = [file.get(name, getlink=True) for name in _PARTS]
            if not all(isinstance(link, h5py.HardLink) for link in links) or any(
                array.external or array.is_virtual for array in arrays
            ):
                raise ValueError("its arrays are in other files")
            check_content(path, sum(array.nbytes for array in arrays), path.stat().st_size)
            parts = [np.asarray(array, np.float64) for array in arrays]
    # A damaged file of HDF5 raises errors of many kinds.
    except Exception as error:
        raise ValueError(
            f"{path} is damaged, or lacks train, validation or test: {error}"
        ) from error
    return splits_of(path, *parts)


def _with_tenths(data: np.ndarray, path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The last tenth is for the test, the last tenth of the rest for validation."""
    tenth = _tenth(data, path)
    data, test = data[:-tenth], data[-tenth:]
    tenth = _tenth(data, path)
    return data[:-tenth], data[-tenth:], test


def _tenth(data: np.ndarray, path: Path) -> int:
    if len(data) < 20:
        raise ValueError(f"{path} must hold 20 examples at least. Received: {len(data)}")
    return len(data) // 10


def _scaled(path: Path, train: np.ndarray, validation: np.ndarray, test: np.ndarray) -> Splits:
    """Scales by mean and variance of training and validation together."""
    both = np.vstack([train, validation])
    mean, deviation = both.mean(axis=0), both.std(axis=0)
    parts = ((part - mean) / deviation for part in (train, validation, test))
    return splits_of(path, *parts)


PUBLISHED_TABLES = {
    "tabular/power": Sources(files=(_POWER,), from_files=_power),
    "tabular/gas": Sources(files=(_GAS,), from_files=_gas),
    "tabular/hepmass": Sources(files=_HEPMASS, from_files=_hepmass),
    "tabular/miniboone": Sources(files=(_MINIBOONE,), from_files=_miniboone),
    "tabular/bsds300": Sources(files=(_BSDS300,), from_files=_bsds300),
}
