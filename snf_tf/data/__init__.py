"""Loads data sets as tf.data pipelines of images or vectors, known ones and one's own."""

from snf_tf.data.augmentation import flip_and_shift
from snf_tf.data.dataset import Dataset, batches, training_batches
from snf_tf.data.loading import load_dataset
from snf_tf.data.own_files import load_files
from snf_tf.data.stored import StoredArray

__all__ = [
    "Dataset",
    "StoredArray",
    "batches",
    "flip_and_shift",
    "load_dataset",
    "load_files",
    "training_batches",
]
