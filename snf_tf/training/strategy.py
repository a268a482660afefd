"""The devices of a training run."""

from collections.abc import Sequence

import tensorflow as tf


def make_strategy(devices: Sequence[str] | None = None) -> tf.distribute.Strategy:
    """Chooses a strategy: the devices asked for, or else all GPUs, or else the one device there is.

    Args:
        devices: For example `["GPU:0", "GPU:1"]`, or `["CPU:0", "CPU:1"]` to divide the CPU into logical devices, which has to be
            done before TensorFlow is used for anything else.

    Returns:
        A MirroredStrategy over several devices, or a strategy of one device.

    Raises:
        ValueError: If a device is asked for that is not there.
    """
    if devices is None:
        devices = [f"GPU:{index}" for index in range(len(tf.config.list_physical_devices("GPU")))]
        if not devices:
            return tf.distribute.get_strategy()
    _divide_cpu(devices)
    present = [device.name.removeprefix("/device:") for device in tf.config.list_logical_devices()]
    unknown = [device for device in devices if device.removeprefix("/").removeprefix("device:") not in present]
    if unknown or not devices:
        raise ValueError(f"devices must be among {present}. Received: devices={list(devices)}")
    if len(devices) == 1:
        return tf.distribute.OneDeviceStrategy(devices[0])
    # TensorFlow's collectives cannot be used by a second strategy of a process; GPUs need them, logical CPU devices do not.
    on_cpu = all("CPU:" in device for device in devices)
    return tf.distribute.MirroredStrategy(devices, tf.distribute.ReductionToOneDevice() if on_cpu else None)


def _divide_cpu(devices):
    count = sum("CPU:" in device for device in devices)
    cpu = tf.config.list_physical_devices("CPU")[0]
    configured = tf.config.get_logical_device_configuration(cpu) or [None]
    if count <= len(configured):
        return
    try:
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
    except RuntimeError as error:
        raise ValueError(
            f"The CPU cannot be divided any more once TensorFlow has been used. Received: devices={list(devices)}"
        ) from error
