"""One search on several machines, or here in several processes: one chief, any number of workers.

The chief keeps the search and trains nothing. A worker runs the learning-rate sweep, the chief narrows the
space, and then all workers train trials. Start each of these in a terminal of its own, in any order:

    python examples/distributed.py chief
    python examples/distributed.py worker0
    python examples/distributed.py worker1

On several machines give the chief's address to all of them (`--chief 10.0.0.5:8000`) and a directory that
they share.
"""

import argparse
import os


def build_model(hp):
    import keras

    model = keras.Sequential(
        [
            keras.layers.Input((64,)),
            keras.layers.Dense(hp.Int("units", 32, 128, step=32), activation="relu"),
            keras.layers.Dropout(hp.Float("dropout", 0.0, 0.5)),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.SGD(hp.Float("learning_rate", 1e-6, 10.0, sampling="log")),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", help="`chief`, or a name of its own for each worker")
    parser.add_argument(
        "--chief", default="127.0.0.1:8000", help="the chief's address (default: %(default)s)"
    )
    parser.add_argument("--directory", default="runs", help="shared by all processes (default: %(default)s)")
    parser.add_argument("--trials", type=int, default=8, help="trials in the search (default: %(default)s)")
    options = parser.parse_args()

    # KerasTuner reads these when a tuner is made.
    os.environ["KERASTUNER_TUNER_ID"] = options.name
    os.environ["KERASTUNER_ORACLE_IP"], os.environ["KERASTUNER_ORACLE_PORT"] = options.chief.split(":")

    from sklearn.datasets import load_digits

    import lrtuner

    images, digits = load_digits(return_X_y=True)
    images = images / 16.0

    tuner = lrtuner.RandomSearch(
        build_model,
        objective="val_accuracy",
        max_trials=options.trials,
        directory=options.directory,
        project_name="distributed",
    )
    # On the chief this serves the workers until the search is over.
    tuner.search(
        images[:1500], digits[:1500], epochs=5, validation_data=(images[1500:], digits[1500:]), verbose=2
    )

    if options.name == "chief":
        print(f"Learning-rate range: {tuner.oracle.lr_range}")
        print(f"Picture of the sweep and the trials: {os.path.join(tuner.project_dir, 'lr_sweeps.png')}")
        tuner.results_summary(num_trials=1)


if __name__ == "__main__":
    main()
