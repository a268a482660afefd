"""Data at mean 0 and variance 1, with likelihoods in the units of the data."""

from typing import Any

import keras

from snf_tf.layers.act_norm import ActNorm


@keras.saving.register_keras_serializable("snf_tf")
class Standardize(ActNorm):
    """`z = (x - mean) / deviation` in every channel, by the mean and deviation of a batch.

    An `ActNorm` whose weights are not trained. As the first layer of a flow it takes data in their
    own units: its log-determinant, the sum of -log deviation, keeps likelihoods in these units.
    `flow.initialize(x)` measures x; give it many examples. The last axis has the channels: of
    vectors every dimension is one.

    Args:
        **kwargs: As in `keras.layers.Layer`.

    Raises:
        ValueError: As in `ActNorm`; a column that is the same everywhere has no density.

    Example:
        >>> x = np.random.normal(1000.0, 50.0, (500, 3)).astype("float32")
        >>> layer = snf_tf.layers.Standardize()
        >>> layer.initialize(x)
        >>> z, log_det = layer(x)
        >>> np.round(np.std(z, axis=0), 3), len(layer.trainable_weights)
        (array([1., 1., 1.], dtype=float32), 0)
        >>> bool(np.allclose(log_det, -np.sum(np.log(np.std(x, axis=0))), atol=1e-3))
        True
    """

    _has_trained_weights = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["variance_floor"]
        return config
