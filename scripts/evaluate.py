"""Evaluates a trained flow: likelihoods with standard errors, inverses, and layers.

    python scripts/evaluate.py --run_dir=runs/mnist_fc
    python scripts/evaluate.py --saved_model=exported/mnist_fc \\
        --gin_bindings='load_dataset.name="mnist"'

--draws=K adds the importance weighted bound over K draws of dequantization noise.

--reference=validation tests whether the examples are typical, against that split. Likelihood alone
misleads about data from elsewhere: see `snf_tf.flow.typicality`.

--gradient_angle concerns layers that keep an inverse. It compares their gradient of log|det| with
the exact gradient, and does the same for the inverses that other methods would keep.
"""

import functools
import sys
import time

import command_line
from absl import flags

_RUN_DIR = flags.DEFINE_string("run_dir", None, "Directory of a run that has come to its end.")
_SAVED_MODEL = flags.DEFINE_string(
    "saved_model", None, "Directory that scripts/export.py has written, instead."
)
_GIN_BINDINGS = flags.DEFINE_multi_string(
    "gin_bindings", [], "Settings of load_dataset; by default the run's."
)
_SPLIT = flags.DEFINE_enum(
    "split", "test", ["test", "validation", "train"], "The examples to evaluate on."
)
_DRAWS = flags.DEFINE_integer(
    "draws", 1, "Draws of noise for the importance weighted bound.", lower_bound=1
)
_REFERENCE = flags.DEFINE_enum(
    "reference", None, ["test", "validation", "train"], "Split that is typical. Needs a run."
)
_GROUP_SIZE = flags.DEFINE_integer(
    "group_size", 10, "Examples that are tested together against --reference.", lower_bound=1
)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the noise.")
_GRADIENT_ANGLE = flags.DEFINE_bool(
    "gradient_angle", False, "Compare ways to the layers' inverses. Needs a run."
)
_EXAMPLES = 100


def main(_) -> None:
    start = time.perf_counter()
    if flags.FLAGS["group_size"].present and not _REFERENCE.value:
        sys.exit("evaluate.py: --group_size needs --reference.")
    if _REFERENCE.value and _RUN_DIR.value is None:
        sys.exit("evaluate.py: --reference needs --run_dir.")
    if _GRADIENT_ANGLE.value and _RUN_DIR.value is None:
        sys.exit("evaluate.py: --gradient_angle needs --run_dir; a SavedModel keeps no inverse.")
    source = command_line.one_of(run_dir=_RUN_DIR.value, saved_model=_SAVED_MODEL.value)
    command_line.import_libraries()
    import numpy as np
    import tensorflow as tf
    from tqdm import tqdm

    from snf_tf import serving
    from snf_tf.flow import diagnostics, likelihood
    from snf_tf.flow.classification import bayes_scores, class_scores
    from snf_tf.training import load_data, load_run

    if source == "run_dir":
        flow = load_run(_RUN_DIR.value, _GIN_BINDINGS.value)
        model = serving.Endpoints(flow)
    else:
        flow, model = None, command_line.load_saved_model(_SAVED_MODEL.value)
        command_line.data_of_saved_model(_GIN_BINDINGS.value)
    dataset = load_data()
    examples = getattr(dataset, _SPLIT.value)
    progress = functools.partial(tqdm, unit="batch")
    context = command_line.context_of(model, dataset, _SPLIT.value)
    results = likelihood.likelihoods(
        model, examples, _SEED.value, _DRAWS.value, progress=progress, context=context
    )
    labels = getattr(dataset, f"{_SPLIT.value}_labels")
    if hasattr(model, "classify") and labels is not None:
        results |= class_scores(model, examples, labels, _SEED.value)
    if serving.context_kind(model) == "label" and "nll" in results:
        counts = np.bincount(dataset.train_labels, minlength=dataset.classes)
        results |= bayes_scores(
            lambda y: likelihood.log_probs(model, examples, _SEED.value, y), labels, counts
        )
    first, given = examples[:_EXAMPLES], None if context is None else context[:_EXAMPLES]
    if flow is None:
        results["distance_of_decoded_from_data"] = likelihood.distance_of_decoded(
            model, first, _SEED.value, given
        )
    else:
        if likelihood.has_round_trip(flow):
            results["round_trip_error"] = likelihood.round_trip_error(flow, first, context=given)
        if flow.has_learned_inverse:
            if likelihood.has_round_trip(flow):
                results["learned_round_trip_error"] = likelihood.round_trip_error(
                    flow, first, exact=False, context=given
                )
            results["reconstruction_error"] = flow.evaluate(first, seed=_SEED.value, context=given)[
                "reconstruction_error"
            ]
        if _REFERENCE.value:
            results |= _typical(flow, model, dataset, examples, context)
        tensors = [tf.constant(part) for part in (first, given) if part is not None]
        _print_layers(diagnostics.layer_statistics(flow, *tensors))
        if _GRADIENT_ANGLE.value:
            print("Angle of the gradient of log|det| to the exact one, in degrees, by inverse:")
            _print_layers(diagnostics.inverse_angles(flow, *tensors))
    for name, value in results.items():
        print(f"{name:54s} {value:.6g}")
    kind = command_line.likelihood_kind(results, "nll")
    nll, bits = f"nll{kind}", f"bits_per_dim{kind}"
    print(
        f"{_RUN_DIR.value or _SAVED_MODEL.value}, {len(examples)} {_SPLIT.value} examples of "
        f"{dataset.name} ({dataset.source}): "
        f"{nll.replace('_', ' ')} {results[nll]:.2f} +- "
        f"{results[f'{nll}_standard_error']:.2f} nats, {results[bits]:.4f} +- "
        f"{results[f'{bits}_standard_error']:.4f} bits/dim; "
        f"{time.perf_counter() - start:.0f} s."
    )


def _typical(flow, model, dataset, examples, context):
    """Returns the shares of groups whose p-value is small."""
    from snf_tf.flow import typicality

    size = _GROUP_SIZE.value
    # Groups are whole; of too few examples none is.
    rows = len(examples) // size * size
    if not rows:
        sys.exit(f"evaluate.py: --group_size={size} is more than the {len(examples)} examples.")
    found = typicality(
        flow,
        examples[:rows],
        getattr(dataset, _REFERENCE.value),
        size,
        None if context is None else context[:rows],
        command_line.context_of(model, dataset, _REFERENCE.value),
    )
    return {
        f"share_of_groups_with_p_below_{level}": float((found.p_value < level).mean())
        for level in (0.05, 0.01)
    }


def _print_layers(statistics):
    import pandas as pd

    values = pd.Series(
        {tuple(name.split("/")): float(value) for name, value in statistics.items()}, dtype=float
    )
    if len(values):
        order = list(dict.fromkeys(values.index.get_level_values(0)))
        print(
            values.unstack()
            .loc[order]
            .rename_axis("layer")
            .to_string(float_format="%.4g", na_rep="-"),
            end="\n\n",
        )


if __name__ == "__main__":
    command_line.run(main)
