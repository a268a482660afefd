"""Reads pickles of published data sets, and nothing that could run code."""

import io
import pickle
from collections.abc import Collection, Mapping
from typing import Any

from pandas.compat import pickle_compat

# Names of NumPy, in any of its modules, that make arrays of numbers.
ARRAYS = ("_reconstruct", "ndarray", "dtype", "scalar", "encode", "_frombuffer")
# Names that make a table of pandas; what holds the names of its columns is one of the last three.
TABLES = {
    "pandas": (
        *("DataFrame", "BlockManager", "Index", "RangeIndex", "Int64Index", "Float64Index"),
        *("_new_Index", "_unpickle_block", "new_block", "StringDtype", "ArrowStringArray"),
    ),
    "pyarrow": ("_restore_array", "py_buffer", "type_for_alias"),
    "builtins": ("slice", "bytearray", "object"),
    "__builtin__": ("slice", "bytearray", "object"),
    "copyreg": ("_reconstructor",),
    "copy_reg": ("_reconstructor",),
}


class _Unpickler(pickle_compat.Unpickler):
    """Finds allowed names alone; pandas knows where the names of its old versions are now."""

    def __init__(self, content: bytes, encoding: str, allowed: Mapping[str, Collection[str]]):
        super().__init__(io.BytesIO(content), encoding=encoding)
        self._allowed = allowed

    def find_class(self, module: str, name: str) -> Any:
        if name not in self._allowed.get(module.split(".")[0], ()):
            raise pickle.UnpicklingError(f"it holds {module}.{name}, where arrays are expected")
        return super().find_class(module, name)


def unpickle_arrays(content: bytes) -> Any:
    """Reads a pickle of arrays, lists and dicts; strings of Python 2 are bytes.

    Raises:
        pickle.UnpicklingError: If the pickle holds anything else.

    Example:
        >>> unpickle_arrays(pickle.dumps({"x": 1.0}))
        {'x': 1.0}
    """
    return _Unpickler(content, "bytes", {"numpy": ARRAYS, "_codecs": ("encode",)}).load()


def unpickle_table(content: bytes) -> Any:
    """Reads a pickle of a pandas DataFrame of numbers, of old versions of pandas, too.

    Raises:
        pickle.UnpicklingError: If the pickle holds anything else.

    Example:
        >>> import pandas as pd
        >>> unpickle_table(pickle.dumps(pd.DataFrame({"a": [1.0, 2.0]})))["a"].tolist()
        [1.0, 2.0]
    """
    allowed = {"numpy": ARRAYS, "_codecs": ("encode",), **TABLES}
    return _Unpickler(content, "latin1", allowed).load()
