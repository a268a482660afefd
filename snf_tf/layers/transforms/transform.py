"""The base class of transforms.

A transform takes values of any shape, and parameters with one more axis, the last:
`(batch,) + event_shape + (count_of_parameters,)`.
"""

import tensorflow as tf

from snf_tf.layers.options import Option


class Transform(Option):
    """The base class of transforms.

    Attributes:
        count_of_parameters: Parameters of one element.
        keeps_volume: Whether the slope is always 1.
    """

    count_of_parameters: int
    keeps_volume = False

    def forward(self, x: tf.Tensor, parameters: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns z and log dz/dx, both of the shape of x."""
        raise NotImplementedError

    def inverse(self, z: tf.Tensor, parameters: tf.Tensor) -> tf.Tensor:
        """Returns x."""
        raise NotImplementedError
