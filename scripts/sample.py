"""Draws samples of a trained flow: a PNG grid, and a .npy file of the same name.

python scripts/sample.py --run_dir=runs/mnist_fc --n=64 --temperature=0.8 --output=samples.png
python scripts/sample.py --run_dir=runs/mnist_fc --interpolate=3,7 --n=10 --output=between.png
python scripts/sample.py --run_dir=runs/mnist_glow_class --n=8 --labels=3,7

Of a flow that is conditional on labels, --n samples of every class are drawn, a row a class. Of one
that is conditional on contexts, a sample has the context of a test example.
"""

import math
import time

import command_line
from absl import flags

_RUN_DIR = flags.DEFINE_string("run_dir", None, "Directory of a run that has come to its end.")
_SAVED_MODEL = flags.DEFINE_string(
    "saved_model", None, "Directory that scripts/export.py has written, instead."
)
_GIN_BINDINGS = flags.DEFINE_multi_string(
    "gin_bindings", [], "Settings of load_dataset, for test examples; by default the run's."
)
_OUTPUT = flags.DEFINE_string(
    "output", "samples.png", "PNG file; the numbers go beside it, to NAME.npy."
)
_N = flags.DEFINE_integer("n", 64, "How many; conditional on labels, of each.", lower_bound=1)
_LABELS = flags.DEFINE_list("labels", None, "I,J,...: the classes to draw; by default all.")
_INVERSE = flags.DEFINE_enum(
    "inverse", "learned", ["learned", "exact"], "Which inverses to sample by."
)
_TEMPERATURE = flags.DEFINE_float("temperature", 1.0, "Factor on the latents.", lower_bound=0.0)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the samples.")
_INTERPOLATE = flags.DEFINE_list(
    "interpolate",
    None,
    "I,J: instead, --n images from test image I to J, on a line between latents.",
)
_PIXEL_VALUES = flags.DEFINE_integer(
    "pixel_values",
    256,
    "Of a SavedModel: number of values of a pixel, 32 for images of 5 bits; a run knows its own.",
    lower_bound=2,
)
_BATCH = 100


def main(_) -> None:
    start = time.perf_counter()
    if not math.isfinite(_TEMPERATURE.value):
        raise ValueError(
            "--temperature must be a finite number of at least 0. "
            f"Received: --temperature={_TEMPERATURE.value}"
        )
    if _RUN_DIR.value and flags.FLAGS["pixel_values"].present:
        raise ValueError(
            "--pixel_values must go with --saved_model: a run knows its own. "
            f"Received: --pixel_values={_PIXEL_VALUES.value}"
        )
    output = command_line.require_file("--output", _OUTPUT.value, ".png")
    source = command_line.one_of(run_dir=_RUN_DIR.value, saved_model=_SAVED_MODEL.value)
    command_line.import_libraries()
    import numpy as np

    from snf_tf import serving
    from snf_tf.training import load_data, load_run
    from snf_tf.training.plotting import pixel_values, save_grid

    if source == "run_dir":
        flow = load_run(_RUN_DIR.value, _GIN_BINDINGS.value)
        model, values = serving.Endpoints(flow), pixel_values(flow)
    else:
        model, values = command_line.load_saved_model(_SAVED_MODEL.value), _PIXEL_VALUES.value
    kind = serving.context_kind(model)
    if _LABELS.value is not None and kind != "label":
        raise ValueError(
            "--labels must go with a flow that is conditional on labels. "
            f"Received: --labels={','.join(_LABELS.value)}, and a flow that takes {kind or 'none'}"
        )
    if _INTERPOLATE.value or kind == "context":
        if _SAVED_MODEL.value:
            command_line.data_of_saved_model(_GIN_BINDINGS.value)
        data = load_data()
    if _INTERPOLATE.value:
        if kind is not None:
            raise ValueError("--interpolate is for flows without a context.")
        samples = _interpolate(model, data.test)
    elif kind == "context":
        samples = _sample(model, command_line.context_of(model, data, "test")[: _N.value])
    else:
        samples = _sample(model, _labels(model) if kind == "label" else None)
    np.save(output.with_suffix(".npy"), samples)
    is_images = samples.ndim == 4 and samples.shape[3] in (1, 3)
    if is_images:
        save_grid(
            output,
            samples,
            columns=_N.value
            if _INTERPOLATE.value or kind == "label"
            else math.ceil(math.sqrt(len(samples))),
            values=values,
        )
    written = (
        f"{output} and {output.with_suffix('.npy')}" if is_images else output.with_suffix(".npy")
    )
    print(
        f"{len(samples)} samples of {_RUN_DIR.value or _SAVED_MODEL.value}: {written}; "
        f"{time.perf_counter() - start:.0f} s."
    )


def _labels(model):
    """Returns the labels of all samples, row by row of the grid."""
    import numpy as np

    classes = int(model.context_classes)
    names = range(classes) if _LABELS.value is None else _LABELS.value
    if not all(str(name).isdecimal() and int(name) < classes for name in names):
        raise ValueError(
            f"--labels takes numbers of classes, I,J,..., each from 0 to {classes - 1}. "
            f"Received: --labels={','.join(_LABELS.value)}"
        )
    return np.repeat(np.array([int(name) for name in names], np.int64), _N.value)


def _sample(model, context=None):
    import numpy as np
    import tensorflow as tf
    from tqdm import tqdm

    draw = model.sample if _INVERSE.value == "learned" else model.sample_exact
    parts = []
    total = _N.value if context is None else len(context)
    for index, first in enumerate(tqdm(range(0, total, _BATCH), unit="batch")):
        # The first batch has the seed itself, the others have seeds derived from seed and index.
        derived = (
            np.random.SeedSequence([_SEED.value % 2**64, index]).generate_state(1, np.uint64)[0]
            >> 1
        )
        seed = int(derived) if index else _SEED.value
        # As tensors: for new Python numbers TensorFlow would trace anew.
        count, seed = (
            tf.constant(min(_BATCH, total - first), tf.int64),
            tf.constant(seed, tf.int64),
        )
        rows = {} if context is None else {"context": context[first : first + _BATCH]}
        parts.append(draw(count, seed, _TEMPERATURE.value, **rows).numpy())
    return np.concatenate(parts)


def _interpolate(model, images):
    import numpy as np

    try:
        ends = [int(index) for index in _INTERPOLATE.value]
        pair = images[ends]
    except (ValueError, IndexError):
        ends, pair = [], ()
    if len(pair) != 2 or min(ends) < 0:
        raise ValueError(
            "--interpolate takes the numbers of two test images, I,J, each from 0 to "
            f"{len(images) - 1}. Received: --interpolate={','.join(_INTERPOLATE.value)}"
        )
    start, end = model.encode(pair, _SEED.value).numpy()
    weights = np.linspace(0, 1, _N.value, dtype=start.dtype)[:, None]
    return model.decode((1 - weights) * start + weights * end).numpy()


if __name__ == "__main__":
    command_line.run(main)
