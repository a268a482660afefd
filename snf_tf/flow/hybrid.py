"""A flow with a classifier that shares its features."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from snf_tf import _compat, networks, ops
from snf_tf._array_checks import check_array
from snf_tf._checks import check_integer, check_number
from snf_tf.flow.classification import scores
from snf_tf.flow.elements import Element, unpack, without_last
from snf_tf.flow.flow import Flow
from snf_tf.flow.graph_function import traced
from snf_tf.layers import FactorOut, Squeeze
from snf_tf.layers.bijection import Bijection, follow


@keras.saving.register_keras_serializable("snf_tf")
class HybridFlow(Flow):
    """A flow p(x) and a classifier p(y|x) of its features (Nalisnick et al. 2019; RF section 5.4).

    Training minimises the mean of `-(likelihood_weight log p(x) + log p(y|x))`. The classifier has
    a `snf_tf.networks.FeatureHead` at the end of every scale: on the output of every `Squeeze` that
    follows a trained layer, of the layer before every `FactorOut`, and of the last layer. A linear
    softmax maps the heads' vectors, side by side, to classes. The heads have no Lipschitz bound,
    and compute in float32 at least; `flow.initialize(batch)` sets their normalization.

    `fit(x, y)` and `evaluate(x, y)` take labels y, integers in 0..classes - 1 of shape `(N,)`.
    Elements of data sets are `(x, y)`, or dicts of x, y and, where given, context and
    sample_weight. `fit` needs labels; without them `evaluate`, and validation, give likelihoods
    alone. With them there are `accuracy` and `classifier_nll`, the mean of -log p(y|x) in nats. The
    history has the training's `accuracy`, too. `val_loss` is the loss above, of validation data.

    Args:
        bijections: As in `Flow`.
        event_shape: As in `Flow`.
        classes: Number of classes, at least 2.
        likelihood_weight: A number of at least 0, or "1/D" with D the dimension of x. At 0 the
            likelihood is not trained; with the log-determinant `snf_tf.layers.NotTrained` residual
            blocks do not estimate it in training either.
        head_width: Length of a head's vector.
        base: As in `Flow`.
        seed: As in `Flow`.
        **kwargs: As in `keras.Model`.

    Attributes:
        heads: The list of heads.
        classifier: The last, linear layer.

    Raises:
        ValueError: If an argument is none of these.

    Example:
        >>> bijections = [snf_tf.layers.ExactDense(), snf_tf.layers.SmoothTanh()]
        >>> flow = snf_tf.HybridFlow(bijections, event_shape=(2,), classes=3, head_width=8)
        >>> flow.compile(optimizer="adam")
        >>> x, y = np.random.randn(60, 2).astype("float32"), np.arange(60) % 3
        >>> history = flow.fit(x, y, validation_data=(x, y), verbose=0).history
        >>> sorted(flow.evaluate(x, y))
        ['accuracy', 'bits_per_dim', 'classifier_nll', 'nll']
        >>> flow.classify(x).shape
        TensorShape([60, 3])
    """

    takes_labels = True

    def __init__(
        self,
        bijections: Iterable[Bijection],
        event_shape: Sequence[int],
        classes: int,
        likelihood_weight: float | str = 1.0,
        head_width: int = 256,
        base: Any = None,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        # The constructor of Flow builds the heads.
        self.classes = check_integer("classes", classes, 2)
        self.likelihood_weight = checked_likelihood_weight(likelihood_weight)
        self.head_width = check_integer("head_width", head_width, 1)
        super().__init__(bijections, event_shape, base, seed, **kwargs)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Builds the bijections, and then the classifier."""
        if self.built:
            return
        super().build(input_shape)
        leaves = self.leaves()
        self._ends = ends_of_scales(self.bijections)
        dtype = self.log_det_dtype
        self.heads = [networks.FeatureHead(self.head_width, dtype=dtype) for _ in self._ends]
        for head, index in zip(self.heads, self._ends, strict=True):
            head.build((None, *leaves[index].latent_shape))
        self.classifier = keras.layers.Dense(self.classes, name="classifier", dtype=dtype)
        self.classifier.build((None, len(self.heads) * self.head_width))
        self._accuracy = keras.metrics.Mean(name="accuracy")
        _compat.separate_losses(self)

    def call(
        self, x: Any, context: Any = None, training: bool = False, seed: Any = None
    ) -> tuple[tf.Tensor, ...]:
        """Maps data to latents as `Flow` does; of an element with y also gives class log-probs."""
        if not (isinstance(x, dict) and "y" in x):
            return super().call(x, context, training, seed)
        given = unpack(x, takes_labels=True)
        log_dets: list[tf.Tensor] = []
        z, log_probs = self._classified(given.x, given.context, training, seed, log_dets)
        return z, self._sum(log_dets), log_probs

    def class_log_probs(
        self, x: Any, context: Any = None, training: bool = False, seed: Any = None
    ) -> tf.Tensor:
        """Computes log p(y|x), `(batch, classes)`, on x and context that were checked before."""
        return self._classified(x, context, training, seed, [])[1]

    def classify(
        self,
        x: tf.Tensor,
        context: tf.Tensor | None = None,
        seed: int | None = None,
        batch_size: int | None = None,
    ) -> tf.Tensor:
        """Computes log p(y|x) of all classes.

        Arguments and errors are those of `log_prob`.

        Returns:
            `(batch, classes)`, in nats. Images are dequantized by the noise of the seed.
        """
        return self._by_rows(self._class_log_probs, x, context, seed, batch_size)

    def initialize(self, x: Any, context: Any = None, seed: Any = None) -> None:
        """Sets the data-dependent weights of all layers and heads from a batch x, once."""
        if self.initialized > 0:
            return
        super().initialize(x, context, seed)
        features = self._features(self.check_data(x), context, False, ops.row_seed(seed), [])[1]
        for head, feature in zip(self.heads, features, strict=True):
            head.initialize(feature)

    def check_labels(self, y: Any, x: Any, required: bool = False) -> Any:
        """Returns labels as a tensor after checking that they go with x, `(batch,) + event_shape`.

        Raises:
            ValueError: If labels are required and missing, are no integers of shape `(batch,)`, or
                are not in 0..classes - 1; in a graph values are checked when it runs.
        """
        if y is None:
            if required:
                raise ValueError(
                    "A HybridFlow is fitted to labels, too: fit(x, y), or elements (x, y) or "
                    '{"x": x, "y": y}. Received: no labels'
                )
            return None
        y = without_last(check_array("y", y))
        if not y.dtype.is_integer or y.shape.rank != 1:
            raise ValueError(
                "Labels y must be integers of shape (batch,), the numbers of the classes. "
                f"Received: y of shape {y.shape} and dtype {y.dtype.name}"
            )
        rows = tf.TensorShape(x.shape[:1])
        message = "Labels y must have as many rows as x."
        if not y.shape.is_compatible_with(rows):
            raise ValueError(f"{message} Received: y of shape {y.shape}, x of shape {x.shape}")
        if not (y.shape.is_fully_defined() and rows.is_fully_defined()):
            y = ops.require(tf.equal(tf.shape(y)[0], tf.shape(x)[0]), y, message)
        wide = tf.cast(y, tf.int64)
        valid = tf.reduce_all((wide >= 0) & (wide < self.classes))
        return ops.require(valid, y, f"Labels y must be in 0..{self.classes - 1}.")

    def example_losses(self, given: Element, outputs: tuple[tf.Tensor, ...]) -> tf.Tensor:
        """Computes -(likelihood_weight log p(x) + log p(y|x)) of a training call, `(batch,)`."""
        z, log_det, log_probs = outputs
        losses = scores(log_probs, given.y)[1]
        # Left out at 0: what is multiplied by 0 would be computed, with its gradient.
        if self._weight:
            losses += self._weight * super().example_losses(given, (z, log_det))
        return losses

    def validation_loss(self, logs: Mapping[str, float]) -> float | None:
        nll = super().validation_loss(logs)
        if nll is None or "val_classifier_nll" not in logs:
            return None
        return logs["val_classifier_nll"] + self._weight * nll

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
    ) -> dict[str, tf.Tensor]:
        given = unpack(x, takes_labels=True)
        self._accuracy.update_state(scores(y_pred[2], given.y)[0], given.sample_weight)
        return super().compute_metrics(x, y, y_pred, sample_weight)

    @property
    def trains_likelihood(self) -> bool:  # type: ignore[override]
        return self._weight > 0

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "classes": self.classes,
            "likelihood_weight": self.likelihood_weight,
            "head_width": self.head_width,
        }

    @property
    def _weight(self):
        weight = self.likelihood_weight
        return 1.0 / self.latent_shape[0] if weight == "1/D" else float(weight)

    def _features(self, x, context, training, seed, log_dets):
        """Returns z and the outputs at the ends of scales; fills in the log-dets of all leaves."""
        features = []

        def visit(step):
            if len(log_dets) in self._ends:
                features.append(step.z)
            log_dets.append(step.log_det)

        return follow(self.steps(x, context, training, seed), visit), features

    def _classified(self, x, context, training, seed, log_dets):
        z, features = self._features(x, context, training, seed, log_dets)
        vectors = [head(feature) for head, feature in zip(self.heads, features, strict=True)]
        return z, tf.nn.log_softmax(self.classifier(tf.concat(vectors, axis=1)))

    @traced
    def _class_log_probs(self, x, context, seed, version):
        return self.class_log_probs(x, context, seed=seed)


def ends_of_scales(bijections: Iterable[Bijection]) -> list[int]:
    """Finds the leaves at which scales end: their outputs are the features of a classifier.

    These are every `Squeeze` (RF App. E), the leaf before every `FactorOut`, and the last leaf. A
    scale has trained layers: what precedes the first of them, and a second end in a row, are none.

    Args:
        bijections: The built layers of a flow.

    Returns:
        Indices of leaves, in the order of `flow.leaves()`.

    Example:
        >>> act, squeeze = snf_tf.layers.ActNorm, snf_tf.layers.Squeeze
        >>> flow = snf_tf.Flow([squeeze(), act(), squeeze(), act()], event_shape=(4, 4, 1))
        >>> ends_of_scales(flow.bijections)
        [2, 3]
    """
    ends: list[int] = []
    count, has_trained = 0, False

    def end():
        nonlocal has_trained
        if has_trained:
            ends.append(count - 1)
        has_trained = False

    def visit(bijections):
        nonlocal count, has_trained
        for bijection in bijections:
            if isinstance(bijection, FactorOut):
                end()
                count += bijection.prior is not None
                visit([bijection.inner])
            elif isinstance(bijection, Flow):
                visit(bijection.bijections)
            else:
                count += 1
                has_trained |= bool(bijection.trainable_weights or bijection.unbuilt_parts())
                if isinstance(bijection, Squeeze):
                    end()

    visit(bijections)
    return ends if ends[-1:] == [count - 1] else [*ends, count - 1]


def checked_likelihood_weight(weight: float | str) -> float | str:
    """Returns the argument likelihood_weight; raises a ValueError if it is none."""
    if isinstance(weight, str) and weight == "1/D":
        return weight
    return check_number("likelihood_weight", weight, at_least=0, otherwise=', or "1/D"')
