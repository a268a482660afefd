"""RF Table 2: the Frechet distance of samples to the data, by InceptionV3."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import text_tables
from figure_work import is_stand_in, results_of
from reproduce_table import Row

_SIZE = 299
_SAMPLES = 10_000
_BATCH = 100


def write(
    directory: Path, table: str, rows: list[Row], train: Callable, features: Callable | None = None
) -> str:
    """Trains the rows that are flows, writes `TABLE.md` and `.csv`; returns the first as text.

    Where the weights of InceptionV3 cannot be loaded, nothing is trained, and the table says why.

    Args:
        directory: Where to write them.
        table: Its name.
        rows: With what was published.
        train: Maps rows to runs, and to reasons of runs that failed, by their directory.
        features: Returns a model of features; None: `inception`.
    """
    own = [row for row in rows if row.config]
    reasons, distances, replaced, notes = {}, {}, set(), []
    try:
        model = (features or inception)()
    except ValueError as error:
        notes.append(str(error))
        reasons = {row.name: "no features" for row in own}
    else:
        runs, failed = train(own)
        for run in runs:
            if run.path in failed:
                reasons[run.row.name] = failed[run.path]
            else:
                distances.setdefault(run.row.name, []).append(_distance(run, model))
                if is_stand_in(results := results_of(run)):
                    replaced.add(run.row.name)
                    notes.append(f"Stand-in data: {results['dataset']} ({results['source']}).")
    lines = []
    for row in rows:
        found = distances.get(row.name, [])
        mean, deviation = pd.Series(found, dtype=float).agg(["mean", "std"])
        ours = text_tables.number(mean, deviation if len(found) > 1 else None, 2) if found else ""
        lines.append(
            {
                "row": row.name,
                "published FID": row.published["fid"],
                "ours": "" if row.name in replaced else ours,
                "ours on stand-in data": ours if row.name in replaced else "",
                "seeds": len(found) or "",
                "reason": reasons.get(row.name, "" if row.config else "no flow, not made here"),
            }
        )
    words = "\n\n".join(dict.fromkeys(notes))
    title = f"# {table}: Frechet distance, CIFAR-10"
    title += ", in part on data that stand in for the published" * bool(replaced)
    text = f"{title}\n\n{text_tables.markdown(lines)}\n\n{words}\n"
    text_tables.replace(directory / f"{table}.md", lambda path: path.write_text(text))
    frame = pd.DataFrame(lines)
    text_tables.replace(directory / f"{table}.csv", lambda path: frame.to_csv(path, index=False))
    return text


def inception():
    """Returns InceptionV3 on pixels 0..255 of images of any size, up to its last pooling.

    Raises:
        ValueError: If its weights are not at hand, and cannot be downloaded.
    """
    import keras

    try:
        network = keras.applications.InceptionV3(
            include_top=False, weights="imagenet", pooling="avg", input_shape=(_SIZE, _SIZE, 3)
        )
    # Keras raises bare exceptions where a download fails.
    except Exception as error:
        raise ValueError(
            "The Frechet distance of the paper needs the weights of InceptionV3, which cannot be "
            "loaded: put them where keras.applications looks for them, in ~/.keras/models, or "
            f"allow the download. Received: {str(error).splitlines()[0]}"
        ) from None
    images = keras.Input((None, None, 3))
    x = keras.layers.Resizing(_SIZE, _SIZE)(images)
    return keras.Model(images, network(keras.layers.Rescaling(1 / 127.5, offset=-1.0)(x)))


def _distance(run, features):
    """Computes the distance between the test images and as many samples of a run."""
    import numpy as np

    from snf_tf.frechet import feature_moments, frechet_distance
    from snf_tf.training import load_data, load_run

    flow = load_run(run.path)
    images = load_data().test[:_SAMPLES]
    samples = [
        np.clip(np.floor(flow.sample(min(_BATCH, len(images) - first), seed=first)), 0, 255)
        for first in range(0, len(images), _BATCH)
    ]
    found = [feature_moments(features, x) for x in (np.concatenate(samples), images)]
    return frechet_distance(*found)
