"""The default learning rate of SGD against one read off a sweep, on MNIST.

The experiment of the original LRFinder notebook: a CNN, SGD, batches of 64, 5 epochs.  Its authors report a
test accuracy of 0.9643 at the default rate of 0.01 and of 0.9896 at a rate from the sweep.
"""

import argparse
import math
import sys

import keras
import numpy as np

import lrtuner

BATCH_SIZE = 64
DEFAULT_RATE = 0.01


def load_mnist():
    """Return MNIST, which Keras downloads the first time; leave the program where it can't."""
    try:
        (x, y), (x_test, y_test) = keras.datasets.mnist.load_data()
    except Exception as error:
        # Keras raises a plain Exception where a download fails.
        sys.exit(
            f"MNIST could not be downloaded: {error}\n"
            "Run with --data digits for the same comparison on the digits that scikit-learn ships."
        )
    return x[..., np.newaxis] / np.float32(255), y, x_test[..., np.newaxis] / np.float32(255), y_test


def load_shipped_digits():
    """Return the 1,797 digits of 8 by 8 pixels that scikit-learn ships."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    images = (images / 16.0).astype("float32").reshape(-1, 8, 8, 1)
    x, x_test, y, y_test = train_test_split(images, labels, test_size=300, stratify=labels, random_state=0)
    return x, y, x_test, y_test


def build_model(image_shape: tuple[int, ...], learning_rate: float, seed: int = 0) -> keras.Model:
    """Build the notebook's CNN; the seed fixes its first weights and all that is drawn later."""
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [
            keras.Input(image_shape),
            keras.layers.Conv2D(32, 3, activation="relu"),
            keras.layers.Conv2D(64, 3, activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Dropout(0.25),
            keras.layers.Flatten(),
            keras.layers.Dense(128, activation="relu"),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.SGD(learning_rate),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


def sweep(model: keras.Model, x, y, epochs: int) -> tuple[lrtuner.LRCurve, lrtuner.LRRange]:
    """Return the curve of a sweep, and the range for a training of so many epochs."""
    curve = lrtuner.find_lr(model, x, y, batch_size=BATCH_SIZE, verbose=0)
    return curve, lrtuner.suggest_range(curve, train_steps=epochs * math.ceil(len(x) / BATCH_SIZE))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", choices=["mnist", "digits"], default="mnist", help="default: %(default)s")
    parser.add_argument("--epochs", type=int, default=5, help="of each training (default: %(default)s)")
    arguments = parser.parse_args()
    x, y, x_test, y_test = load_mnist() if arguments.data == "mnist" else load_shipped_digits()

    def accuracy_at(learning_rate: float) -> float:
        model = build_model(x.shape[1:], learning_rate)
        model.fit(x, y, batch_size=BATCH_SIZE, epochs=arguments.epochs, verbose=2)
        return model.evaluate(x_test, y_test, verbose=0)[1]

    curve, lr_range = sweep(build_model(x.shape[1:], DEFAULT_RATE), x, y, arguments.epochs)
    rate = lr_range.suggested
    print(f"A sweep of {len(curve)} batches suggests {lr_range.min_lr:.2g} to {lr_range.max_lr:.2g}.")

    print(f"\nTraining at the default rate, {DEFAULT_RATE:.2g}")
    default_accuracy = accuracy_at(DEFAULT_RATE)
    print(f"\nTraining at the suggested rate, {rate:.2g}")
    accuracy = accuracy_at(rate)

    print(f"\nTest accuracy on {arguments.data} after {arguments.epochs} epochs")
    print(f"  at the default rate {DEFAULT_RATE:<8.2g} {default_accuracy:.4f}")
    print(f"  at the sweep's rate {rate:<8.2g} {accuracy:.4f}")
    if arguments.data == "mnist":
        print("Reported by the notebook's authors: 0.9643 and 0.9896.")


if __name__ == "__main__":
    main()
