"""Private names of Keras, each used here alone.

Keras has no public name for what is done here. All was seen to work with keras 3.15.1, tensorflow
2.21 and tensorflow-probability 0.25; `tests/test_compat.py` tells when a new version changes it.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence

import keras
import tensorflow as tf
from keras.src.trainers import compile_utils

from snf_tf.ops.custom_gradient import released


def clip_after_sum(optimizer: keras.optimizers.Optimizer) -> None:
    """Makes an optimizer clip gradients after their sum over replicas, as one device would.

    Keras clips those of every replica, and then sums. Seen with keras 3.15.1: `_clip_gradients` is
    called once an update, and then `_all_reduce_sum_gradients`. A second call changes nothing.

    Args:
        optimizer: Any of Keras' optimizers, with `global_clipnorm`, `clipnorm` or `clipvalue`; not
            a LossScaleOptimizer, but the one inside.
    """
    clip, add = optimizer._clip_gradients, optimizer._all_reduce_sum_gradients

    def add_and_clip(gradients_and_variables):
        gradients, variables = zip(*add(gradients_and_variables), strict=True)
        return list(zip(clip(gradients), variables, strict=True))

    optimizer._clip_gradients = lambda gradients: gradients
    optimizer._all_reduce_sum_gradients = add_and_clip


def forget_sums(optimizer: keras.optimizers.Optimizer) -> None:
    """Makes an optimizer's sum over replicas leave nothing in TensorFlow's registry of gradients.

    Otherwise every model that was fitted leaves its training step there. Seen with keras 3.15.1:
    `_all_reduce_sum_gradients`. A second call changes nothing.
    """
    optimizer._all_reduce_sum_gradients = released(optimizer._all_reduce_sum_gradients)


def steps_done(optimizer: keras.optimizers.Optimizer) -> keras.Variable:
    """Returns the counter of an optimizer's steps, those that only accumulate gradients included.

    The public `iterations` counts updates. Seen with keras 3.15.1: `_iterations`.
    """
    return optimizer._iterations


def adam_moments(
    optimizer: keras.optimizers.Adam, variable: tf.Variable
) -> tuple[keras.Variable, keras.Variable]:
    """Returns Adam's means of a weight's gradient and of its square.

    Keras makes them in `build` and keeps them private. Seen with keras 3.15.1: `_momentums`,
    `_velocities`, and `_get_variable_index` for the place of a weight.
    """
    index = optimizer._get_variable_index(variable)
    return optimizer._momentums[index], optimizer._velocities[index]


def weight_averages(optimizer: keras.optimizers.Optimizer) -> list[keras.Variable]:
    """Returns the moving averages of the weights, in the order of `build`, with `use_ema=True`.

    Publicly they only ever replace the weights. Seen with keras 3.15.1:
    `_model_variables_moving_average`.
    """
    return optimizer._model_variables_moving_average


class AveragesFollowUpdates:
    """Lets an optimizer average weights after updates alone; to be inherited before it.

    Keras averages at every step, of which most only accumulate gradients. Seen with keras 3.15.1:
    `_update_model_variables_moving_average` is called before the step is counted.
    """

    def _update_model_variables_moving_average(self, trainable_variables):
        update = super()._update_model_variables_moving_average  # type: ignore[misc]
        if not self.gradient_accumulation_steps:  # type: ignore[attr-defined]
            update(trainable_variables)
            return
        is_update = (steps_done(self) + 1) % self.gradient_accumulation_steps == 0
        keras.ops.cond(is_update, lambda: update(trainable_variables), lambda: None)


class BuiltBeforeFit:
    """Keeps `fit` from building a model that is built; to be inherited before `keras.Model`.

    Under a strategy Keras takes a batch from the iterator for it, which is lost to training; with
    several workers it fails. Seen with keras 3.15.1: `_maybe_symbolic_build`.
    """

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        if not self.optimizer.built:
            with self.distribute_strategy.scope():
                self.optimizer.build(self.trainable_variables)


class _Direction(keras.metrics.Metric):
    """A name and a direction, without a value."""

    def __init__(self, direction, name):
        super().__init__(name=name)
        self._direction = direction

    def result(self):
        return 0.0


def directions(less: Sequence[str] = (), more: Sequence[str] = ()) -> compile_utils.MetricsList:
    """Returns what tells Keras' callbacks of which logs less, and of which more is better.

    Publicly only `loss` has a direction. Seen with keras 3.15.1: EarlyStopping and its like look
    for `_direction` in the metrics of a MetricsList.
    """
    named = (("down", less), ("up", more))
    return compile_utils.MetricsList([_Direction(d, name) for d, names in named for name in names])


class _LossesOfThread:
    """The part of a list that `Layer.add_loss` and `Layer.losses` use, for each thread its own."""

    def __init__(self):
        self._thread = threading.local()

    @property
    def _losses(self):
        if "losses" not in self._thread.__dict__:
            self._thread.losses = []
        return self._thread.losses

    def extend(self, losses):
        self._losses.extend(losses)

    def clear(self):
        self._losses.clear()

    def __getitem__(self, index):
        return self._losses[index]

    def __deepcopy__(self, memo):
        return _LossesOfThread()


def layers_within(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """Returns a layer and all layers that it holds, at any depth.

    Seen with keras 3.15.1: `_flatten_layers`.
    """
    return layer._flatten_layers()


def separate_losses(model: keras.Model) -> None:
    """Gives every thread its own losses of `add_loss`, in a model and all its layers.

    Replicas of a MirroredStrategy are threads that take turns: with one list, the second would
    count the losses of the first. Seen with keras 3.15.1: `_losses`.
    """
    for layer in layers_within(model):
        if not isinstance(layer._losses, _LossesOfThread):
            layer._losses = _LossesOfThread()


@contextlib.contextmanager
def stored_precision(variables: Sequence[keras.Variable]) -> Iterator[None]:
    """Lets no layer around round the values of variables to half precision.

    Seen with keras 3.15.1: `_autocast` of a variable, which its values and its dtype follow.
    """
    kept = [variable._autocast for variable in variables]
    try:
        for variable in variables:
            variable._autocast = False
        yield
    finally:
        for variable, autocast in zip(variables, kept, strict=True):
            variable._autocast = autocast


@contextlib.contextmanager
def checked_shapes(check: Callable[[Sequence[int]], None]) -> Iterator[None]:
    """Calls a check with the shape of every weight, before the weight has its initial value.

    TensorFlow's own scopes come too late: Keras computes the value first. Seen with keras 3.15.1:
    `shape` is the second argument of `keras.Variable`.
    """
    original = keras.Variable.__init__

    def init(self, initializer, shape=None, *args, **kwargs):
        if shape is not None:
            check(shape)
        original(self, initializer, shape, *args, **kwargs)

    keras.Variable.__init__ = init
    try:
        yield
    finally:
        keras.Variable.__init__ = original


_PRECISION = ("_dtype_policy", "_functional", "_dtype")


@contextlib.contextmanager
def no_narrower_than(dtype: tf.DType, network: keras.layers.Layer) -> Iterator[None]:
    """Lets layers of half precision compute in float32, where x has it.

    Seen with keras 3.15.1: `_dtype_policy` is what a layer computes in. A Sequential also casts x
    to the dtype that it was built with: `_dtype` of its input, and that of `_functional`.
    """
    half = [
        layer
        for layer in layers_within(network)
        if tf.as_dtype(layer.compute_dtype).size < min(dtype.size, 4)
    ]
    kept = [{n: layer.__dict__[n] for n in _PRECISION if n in layer.__dict__} for layer in half]
    try:
        for layer in half:
            layer._dtype_policy = keras.DTypePolicy("float32")
            if isinstance(layer, keras.Sequential):
                layer._functional = None
            if isinstance(layer, keras.layers.InputLayer):
                layer._dtype = "float32"
        yield
    finally:
        for layer, attributes in zip(half, kept, strict=True):
            for name, value in attributes.items():
                setattr(layer, name, value)
