"""A bijector of TensorFlow Probability as a layer."""

import weakref

import keras
import tensorflow as tf

from snf_tf.layers.flow_layer import FlowLayer


@keras.saving.register_keras_serializable("snf_tf")
class FromBijector(FlowLayer):
    """A TFP bijector as a layer, its variables tracked, trained and saved by Keras.

    `z = bijector.inverse(x)`, `layer.inverse(z) = bijector.forward(z)`: TFP's `forward` is the
    direction of sampling. log_det and gradients are those of the bijector. All variables that it
    shows, or that it uses when it is called, are the layer's weights.

    Args:
        bijector: A `tfp.bijectors.Bijector`, or a function without arguments that makes one. To
            save a flow as a `.keras` file it has to be a function that Keras can serialize
            (`keras.saving.register_keras_serializable`); `save_weights` works with both.
        **kwargs: As in `keras.layers.Layer`.

    Raises:
        ValueError: If bijector is neither, and in `build` if the event has too few axes for it, or
            its variables were made outside of the strategy's scope.

    Example:
        >>> import tensorflow_probability as tfp
        >>> layer = snf_tf.layers.FromBijector(tfp.bijectors.Scale(tf.Variable([2.0, 4.0])))
        >>> z, log_det = layer(tf.constant([[2.0, 4.0]]))
        >>> z.numpy().tolist(), len(layer.trainable_weights)
        ([[1.0, 1.0]], 1)
    """

    def __init__(self, bijector, **kwargs):
        super().__init__(**kwargs)
        # What TensorFlow Probability computes is not all known to XLA.
        self.supports_jit = False
        is_bijector = _is_bijector(bijector)
        if not is_bijector and not callable(bijector):
            raise ValueError(
                f"bijector must be a TFP bijector, or a function that makes one. Received: "
                f"bijector={bijector!r}"
            )
        self._given = bijector
        self.bijector = bijector if is_bijector else None

    def build(self, input_shape):
        """Makes the bijector, and finds its variables.

        Raises:
            ValueError: If the event has fewer axes than the bijector needs.
        """
        made: list[tf.Variable] = []

        def make(next_creator, **kwargs):
            made.append(next_creator(**kwargs))
            return made[-1]

        with tf.init_scope(), tf.variable_creator_scope(make):
            if self.bijector is None:
                self.bijector = self._given()
                if not _is_bijector(self.bijector):
                    raise ValueError(
                        f"The function must make a TFP bijector. Received: {self.bijector!r} from "
                        f"{self._given!r}"
                    )
            super().build(input_shape)
            # Networks make their variables when they are first called; a graph captures those that
            # it uses, seen by TFP or not.
            self._both_ways(tf.zeros((1, *self.event_shape), self._dtype))
            graph = tf.function(self._both_ways).get_concrete_function(
                tf.TensorSpec((1, *self.event_shape), self._dtype)
            )
        shown = self.bijector.variables
        # What a graph captures is one replica's part of a variable, with the same id.
        whole = {variable._unique_id: variable for variable in (*graph.variables, *made, *shown)}
        found = [
            whole[variable._unique_id]
            for variable in {v._unique_id: v for v in (*graph.variables, *shown)}.values()
        ]
        _check_strategy(found)
        # In the order in which they were made, the same for every bijector that a function makes:
        # files hold no names.
        self._variables = [
            _keras_variable(variable, self.trainable) for variable in sorted(found, key=_age)
        ]

    def compute_latent_shape(self, event_shape):
        if len(event_shape) < self.bijector.inverse_min_event_ndims:
            raise ValueError(
                f"{self.bijector.name} needs events of {self.bijector.inverse_min_event_ndims} "
                f"axes at least. "
                f"Received: event_shape={event_shape}"
            )
        return tuple(self.bijector.inverse_event_shape(event_shape))

    def call(self, x, context=None, training=False):
        # TFP gives a tensor that it has seen the result that it gave then. A new one it has not
        # seen.
        x = tf.identity(tf.cast(x, self._dtype))
        return self.bijector.inverse(x), self.widen(self._log_det(x))

    def call_inverse(self, z, context=None, exact=True):
        return self.bijector.forward(tf.identity(tf.cast(z, self._dtype)))

    @property
    def log_det_is_constant(self):
        return self.built and self.bijector.is_constant_jacobian

    def constant_log_det(self):
        if not self.log_det_is_constant:
            return None
        return self.widen(self._log_det(tf.zeros((1, *self.event_shape), self._dtype))[0])

    def get_config(self):
        if self._given is self.bijector:
            raise ValueError(
                "A TFP bijector has no config: give FromBijector a function that makes it, which "
                "Keras can serialize, or use "
                f"save_weights. Received: bijector={self.bijector!r}"
            )
        return super().get_config() | {"bijector": keras.saving.serialize_keras_object(self._given)}

    @classmethod
    def from_config(cls, config):
        return cls(
            **config | {"bijector": keras.saving.deserialize_keras_object(config["bijector"])}
        )

    @property
    def _dtype(self):
        return self.bijector.dtype or self.log_det_dtype

    def _both_ways(self, x):
        return self._log_det(x), self.bijector.forward(tf.identity(self.bijector.inverse(x)))

    def _log_det(self, x):
        """log|det dz/dx|, `(batch,)`, for a bijector that may have the same for all."""
        log_det = self.bijector.inverse_log_det_jacobian(x, event_ndims=len(self.event_shape))
        return tf.broadcast_to(log_det, tf.shape(x)[:1])


# A variable that two layers share is one for Keras, too; each wrapper keeps its variable, and with
# it the key, alive.
_wrappers: weakref.WeakValueDictionary[int, keras.Variable] = weakref.WeakValueDictionary()


def _keras_variable(variable: tf.Variable, trainable: bool) -> keras.Variable:
    """A Keras variable of the same storage."""
    tracked = _wrappers.get(id(variable))
    if tracked is None:
        name = variable.name.removesuffix(":0").replace("/", "_")
        tracked = keras.Variable(
            variable, trainable=variable.trainable and trainable, dtype=variable.dtype, name=name
        )
        # TFP's autoregressive networks keep their masks by constraints.
        tracked.constraint = variable.constraint
        _wrappers[id(variable)] = tracked
    return tracked


def _check_strategy(variables):
    outside = [v.name for v in variables if not isinstance(v, tf.distribute.DistributedValues)]
    if tf.distribute.get_strategy().num_replicas_in_sync > 1 and outside:
        raise ValueError(
            "The bijector's variables were made outside of the scope of the strategy: give "
            "FromBijector a function that makes the "
            f"bijector. Received: variables {', '.join(outside)}"
        )


def _age(variable: tf.Variable) -> int:
    return int(variable._unique_id.rpartition("_")[2])


def _is_bijector(value):
    # Importing TFP takes seconds; whoever has a bijector has imported it.
    import tensorflow_probability as tfp

    return isinstance(value, tfp.bijectors.Bijector)
