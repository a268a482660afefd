"""A layer together with a context, so that what a context does runs through the shared tests."""

import keras
import tensorflow as tf

from snf_tf.layers import FlowLayer


@keras.saving.register_keras_serializable("tests")
class GivenContext(FlowLayer):
    """Gives every row the same context: a vector, or a label."""

    takes_context = False

    def __init__(self, layer, context, **kwargs):
        super().__init__(**kwargs)
        self.layer, self.given = layer, context

    def build(self, input_shape):
        if not self.layer.built:
            self.layer.build(input_shape)
        super().build(input_shape)

    def compute_latent_shape(self, event_shape):
        return self.layer.compute_latent_shape(event_shape)

    def call(self, x, context=None, training=False):
        return self.layer(x, context=self._rows(x), training=training)

    def call_inverse(self, z, context=None, exact=True):
        return self.layer.inverse(z, context=self._rows(z), exact=exact)

    def get_config(self):
        layer = keras.saving.serialize_keras_object(self.layer)
        return super().get_config() | {"layer": layer, "context": self.given}

    @classmethod
    def from_config(cls, config):
        return cls(**config | {"layer": keras.saving.deserialize_keras_object(config["layer"])})

    def _rows(self, x):
        return tf.repeat(tf.constant([self.given]), tf.shape(x)[0], axis=0)
