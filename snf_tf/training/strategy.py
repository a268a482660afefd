"""The devices of a training run."""

import os
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from snf_tf._checks import check_flag, check_integer, refuse


def make_strategy(
    devices: Sequence[str] | None = None,
    multi_worker: bool = False,
    batch_size: int | None = None,
) -> tf.distribute.Strategy:
    """Chooses a strategy: the devices asked for, or else GPUs, or else the one device there is.

    Args:
        devices: For example `["GPU:0", "GPU:1"]`, or `["CPU:0", "CPU:1"]` to divide the CPU into
            logical devices, which has to be done before TensorFlow is used for anything else.
        multi_worker: Whether this process is one of several, on one or several hosts, as the
            environment variable TF_CONFIG says; all devices of each are used.
        batch_size: Size of the global batch. Of the GPUs, where none are asked for, the largest
            number that divides it is used, and printed; None: all are used.

    Returns:
        A MirroredStrategy over several devices, or a strategy of one device; or a
        MultiWorkerMirroredStrategy.

    Raises:
        ValueError: If a device is asked for that is not there, or there is no TF_CONFIG for several
            workers.
    """
    check_flag("multi_worker", multi_worker)
    if batch_size is not None:
        check_integer("batch_size", batch_size, 1)
    if multi_worker:
        if devices is not None or "TF_CONFIG" not in os.environ:
            raise ValueError(
                "multi_worker=True takes its processes from the environment variable TF_CONFIG, "
                "and all devices of each. "
                f"Received: TF_CONFIG={os.environ.get('TF_CONFIG')}, devices={devices}"
            )
        return tf.distribute.MultiWorkerMirroredStrategy()
    if devices is None:
        devices = _gpus_for(batch_size)
        if not devices:
            return tf.distribute.get_strategy()
    if isinstance(devices, str) or not isinstance(devices, Sequence):
        refuse("devices", devices, 'a list of names such as ["GPU:0"], or None')
    if not all(isinstance(device, str) for device in devices):
        refuse("devices", devices, 'a list of names such as ["GPU:0"], or None')
    _divide_cpu(devices)
    present = [device.name.removeprefix("/device:") for device in tf.config.list_logical_devices()]
    unknown = [
        device
        for device in devices
        if device.removeprefix("/").removeprefix("device:") not in present
    ]
    if unknown or not devices:
        raise ValueError(f"devices must be among {present}. Received: devices={list(devices)}")
    if len(devices) == 1:
        return tf.distribute.OneDeviceStrategy(devices[0])
    # TensorFlow's collectives cannot be used by a second strategy of a process; GPUs need them,
    # logical CPU devices do not.
    on_cpu = all("CPU:" in device for device in devices)
    return tf.distribute.MirroredStrategy(
        devices, tf.distribute.ReductionToOneDevice() if on_cpu else None
    )


def device_names(strategy: tf.distribute.Strategy) -> list[str]:
    """Names the devices of this process that a strategy uses.

    Example:
        >>> device_names(tf.distribute.OneDeviceStrategy("CPU:0"))
        ['CPU:0']
    """
    try:
        devices = strategy.extended.worker_devices
    except RuntimeError:  # TensorFlow's default strategy, by which `make_strategy` means the CPU.
        devices = ["device:CPU:0"]
    return [device.split("device:")[-1] for device in devices]


def _gpus_for(batch_size: int | None) -> list[str]:
    gpus = [
        device.name.removeprefix("/device:") for device in tf.config.list_logical_devices("GPU")
    ]
    if batch_size is None or len(gpus) < 2:
        return gpus
    count = max(count for count in range(1, len(gpus) + 1) if batch_size % count == 0)
    print(
        f"Training on {count} of {len(gpus)} GPUs, the largest number that divides "
        f"batch_size={batch_size}."
    )
    return gpus[:count]


def _divide_cpu(devices):
    count = sum("CPU:" in device for device in devices)
    cpu = tf.config.list_physical_devices("CPU")[0]
    configured = tf.config.get_logical_device_configuration(cpu) or [None]
    if count <= len(configured):
        return
    try:
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * count
        )
    except RuntimeError as error:
        raise ValueError(
            f"The CPU cannot be divided any more once TensorFlow has been used. Received: "
            f"devices={list(devices)}"
        ) from error


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process is the one that writes: the first worker, or the only process."""
    resolver = strategy.cluster_resolver
    if resolver is None or "chief" in resolver.cluster_spec().jobs:
        return resolver is None or resolver.task_type == "chief"
    return not resolver.task_id


def gather_from_workers(strategy: tf.distribute.Strategy, values: Sequence[int]) -> np.ndarray:
    """The integers of every process of a run, `(replicas, len(values))`; all call this, and wait
    for the others.
    """
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return np.array([values])
    return strategy.gather(strategy.run(lambda: tf.constant([values], tf.int32)), axis=0).numpy()


def distribute_batches(
    strategy: tf.distribute.Strategy,
    batches_of: Callable[[slice | None], tf.data.Dataset],
    batch_size: int,
) -> tf.data.Dataset:
    """Gives every worker its rows of the global batches; within a worker, and with one, Keras
    divides them.

    Args:
        strategy: The strategy of the run.
        batches_of: Returns the batches, of which a worker needs some rows, or, for None, all.
        batch_size: Rows of a global batch.
    """
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return batches_of(None)

    def rows_of_worker(context):
        rows = batch_size // context.num_input_pipelines
        first = context.input_pipeline_id * rows
        replicas = context.num_replicas_in_sync // context.num_input_pipelines
        batches = batches_of(slice(first, first + rows))
        return batches.rebatch(rows // replicas, drop_remainder=True)

    return strategy.distribute_datasets_from_function(rows_of_worker)
