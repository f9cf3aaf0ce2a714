"""Tune a small CNN on the handwritten digits that scikit-learn ships.

The learning rate is declared over seven decades.  One sweep narrows it, then an ordinary random search runs.
Nothing is downloaded; on two cores it takes one to two minutes.
"""

import argparse
import os
import warnings

import keras
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import lrtuner

Split = tuple[np.ndarray, np.ndarray]


def load_data() -> tuple[Split, Split, Split]:
    """Return 1,197 images to train on, 300 to choose the best trial by and 300 to test it on."""
    images, labels = load_digits(return_X_y=True)
    images = (images / 16.0).astype("float32").reshape(-1, 8, 8, 1)
    rest, test, rest_labels, test_labels = train_test_split(
        images, labels, test_size=300, stratify=labels, random_state=0
    )
    train, validation, train_labels, validation_labels = train_test_split(
        rest, rest_labels, test_size=300, stratify=rest_labels, random_state=0
    )
    return (train, train_labels), (validation, validation_labels), (test, test_labels)


def build_model(hp):
    """Build a model as for any KerasTuner search: nothing in here knows of lrtuner."""
    batch_norm = hp.Boolean("batch_norm")
    layers = [keras.Input((8, 8, 1))]
    for filters in (32, 64):
        layers.append(keras.layers.Conv2D(filters, 3, use_bias=not batch_norm))
        if batch_norm:
            layers.append(keras.layers.BatchNormalization())
        layers.append(keras.layers.ReLU())
    layers += [
        keras.layers.MaxPooling2D(),
        keras.layers.Flatten(),
        keras.layers.Dense(hp.Int("units", 32, 128, step=32), activation="relu"),
        keras.layers.Dropout(hp.Float("dropout", 0.0, 0.5, step=0.1)),
        keras.layers.Dense(10, activation="softmax"),
    ]
    model = keras.Sequential(layers)
    model.compile(
        optimizer=keras.optimizers.Adam(hp.Float("learning_rate", 1e-6, 10, sampling="log")),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--max-trials", type=int, default=8, help="models to try (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=10, help="epochs for each (default: %(default)s)")
    parser.add_argument("--directory", default="runs", help="where to save (default: %(default)s)")
    arguments = parser.parse_args()

    keras.utils.set_random_seed(0)
    (x, y), validation_data, (x_test, y_test) = load_data()

    tuner = lrtuner.RandomSearch(  # was: keras_tuner.RandomSearch(
        build_model,
        objective="val_accuracy",
        max_trials=arguments.max_trials,
        seed=0,
        directory=arguments.directory,
        project_name="quickstart",
        overwrite=True,  # leave it out, and a second run goes on where the first one stopped
    )
    tuner.search(x, y, epochs=arguments.epochs, validation_data=validation_data, verbose=2)

    print("\nThe sweep")
    for sweep in tuner.oracle.sweeps:
        batches = 0 if sweep.curve is None else len(sweep.curve)
        print(f"  batches             {batches}")
        if sweep.lr_range is None:
            print(f"  no range            {sweep.reason}")
        else:
            print(f"  range               {sweep.lr_range.min_lr:.2g} to {sweep.lr_range.max_lr:.2g}")

    (best,) = tuner.oracle.get_best_trials(1)
    print(f"\nThe best of {len(tuner.oracle.trials)} trials")
    for name, value in best.hyperparameters.values.items():
        print(f"  {name:<19} {value:.3g}" if isinstance(value, float) else f"  {name:<19} {value}")
    print(f"  validation accuracy {best.score:.3f}")
    # KerasTuner loads the best weights into a model that has no optimizer state; Keras remarks on it.
    warnings.filterwarnings("ignore", "Skipping variable loading for optimizer")
    (model,) = tuner.get_best_models(1)
    _, accuracy = model.evaluate(x_test, y_test, verbose=0)
    print(f"  test accuracy       {accuracy:.3f}")

    picture = os.path.join(tuner.project_dir, "lr_sweeps.png")
    print(f"\nPicture of the sweep and the trials: {picture}")


if __name__ == "__main__":
    main()
