"""Tables and digits that come with scikit-learn."""

import functools

import numpy as np

from snf_tf.data.sources import Sources
from snf_tf.data.splits import Split, Splits, random_splits

_FRACTIONS = (0.7, 0.15, 0.15)


def _table(name: str) -> Splits:
    """Reads a table in its own units, float32, with classes where it is one for classifiers.

    The order of rows is that of the seed 0; 70 % are for training, 15 % for validation.
    """
    from sklearn import datasets

    # Of diabetes, the numbers as they were measured.
    options = {"scaled": False} if name == "diabetes" else {}
    x, y = getattr(datasets, f"load_{name}")(return_X_y=True, **options)
    labels = None if name == "diabetes" else y.astype(np.int32)
    return random_splits(Split(x.astype(np.float32), labels), _FRACTIONS, seed=0)


def _digits() -> Splits:
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = digits.images.astype(np.uint8)[..., None]
    return random_splits(Split(images, digits.target.astype(np.int32)), _FRACTIONS, seed=0)


EMBEDDED_TABLES = {
    **{
        f"tabular/{name}": Sources(embedded=functools.partial(_table, name), classes=classes)
        for name, classes in (("breast_cancer", 2), ("wine", 3), ("diabetes", None))
    },
    "digits": Sources(embedded=_digits, classes=10),
}
