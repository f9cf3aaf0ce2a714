"""Nets that were trained before, on other data, and are fine-tuned: whole, in part, or with a frozen base.

The nets are trained once, a minute each on one core, and kept in a folder outside of the repository:
`$LRTUNER_PRETRAINED`, or `lrtuner_pretrained` in the folder for temporary files. Text is the source code of
the packages that are installed.
"""

from __future__ import annotations

import functools
import os
import pathlib
import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from bench.data import Split
from bench.late import datasets, keras
from bench.losses import Loss, crossentropy, squared
from bench.task import ADAM, ADAMW, MOMENTUM, SGD, Task

FOLDER = pathlib.Path(
    os.environ.get("LRTUNER_PRETRAINED") or pathlib.Path(tempfile.gettempdir(), "lrtuner_pretrained")
)

# Chooses and turns images and their labels.
Turn = Callable[[np.ndarray, Any], tuple[np.ndarray, Any]]

# --- Data ---------------------------------------------------------------------------------------------------

LENGTH, MASK, VOCABULARY = 32, 97, 98
_VALIDATION = 1000


@functools.cache
def _text(package: str, pattern: str = "*.py", most: int = 1_000_000) -> str:
    """Return source code of an installed package, of its files in the order of their names."""
    import importlib.util

    (folder,) = importlib.util.find_spec(package).submodule_search_locations  # type: ignore[union-attr]
    parts, size = [], 0
    for file in sorted(pathlib.Path(folder).rglob(pattern)):
        # No file has more than a small share, and none begins with its licence.
        parts.append(file.read_text(errors="replace")[800:20_800])
        size += len(parts[-1])
        if size > most:
            break
    return "".join(parts)


def _windows(text: str, count: int, seed: int) -> np.ndarray:
    """Return windows of characters, as numbers, drawn from all over a text."""
    codes = np.frombuffer(text.encode("ascii", "replace"), np.uint8).astype(np.int32)
    codes = np.where((codes >= 32) & (codes < 127), codes - 31, 0)
    starts = np.random.default_rng(seed).integers(0, len(codes) - LENGTH, count)
    return codes[starts[:, None] + np.arange(LENGTH)]


def _classes(texts: list[str], rows: int) -> Split:
    """Return windows, and from which of the texts each is."""
    count = (rows + _VALIDATION) // len(texts) + 1
    x = np.concatenate([_windows(text, count, seed) for seed, text in enumerate(texts)])
    return _parted(x, np.repeat(np.arange(len(texts), dtype=np.int32), count), rows)


def _parted(x: np.ndarray, y: np.ndarray, rows: int, validation: int = _VALIDATION) -> Split:
    order = np.random.default_rng(0).permutation(len(x))
    train, held = order[:rows], order[rows : rows + validation]
    return Split(x[train], y[train], x[held], y[held])


def packages(rows: int) -> Split:
    """Return source code, and of which package it is."""
    return _classes(
        [_text(name) for name in ("sklearn", "matplotlib", "pandas", "pygments", "fontTools")], rows
    )


def kinds(rows: int) -> Split:
    """Return source code, and whether it is a statement, a comment or a docstring."""
    text = "".join(_text(name) for name in ("sklearn", "pandas"))
    documented = re.findall(r'"""(.*?)"""', text, re.S)
    rest = re.sub(r'""".*?"""', "", text, flags=re.S)
    comments = re.findall(r"^ *#(.*)$", rest, re.M)
    return _classes([re.sub(r"#.*", "", rest), "\n".join(comments), "\n".join(documented)], rows)


def languages(rows: int) -> Split:
    """Return source code, and whether it is Python, C, JavaScript, a style sheet or a web page."""
    files = [
        ("pandas", "*.py"),
        ("numpy", "*.h"),
        ("matplotlib", "*.js"),
        ("matplotlib", "*.css"),
        ("sklearn", "*.css"),
    ]
    return _classes([_text(*one) for one in files], rows)


def _source() -> str:
    return "".join(
        _text(name) for name in ("keras", "scipy", "rich", "jedi", "werkzeug", "hypothesis", "mypy")
    )


def _masked_text() -> Split:
    x = _windows(_source(), 40_000, 1)
    hidden = np.random.default_rng(2).random(x.shape) < 0.2
    return Split(np.where(hidden, MASK, x), np.where(hidden, x, -1), x[:8], x[:8])


def _next_text() -> Split:
    x = _windows(_source(), 40_000, 3)
    y = np.concatenate([x[:, 1:], np.full((len(x), 1), -1)], axis=1)
    return Split(x, y, x[:8], y[:8])


def images(turn: Turn, rows: int, validation: int = 800) -> Split:
    """Return images of digits, each shifted and shaded at random, after `turn` has chosen what of them."""
    x, y = datasets.load_digits(return_X_y=True)
    x, y = turn(x.reshape(-1, 8, 8) / 16, y)
    order = np.random.default_rng(0).permutation(len(x))
    held = len(x) // 2
    return Split(
        *_many(x[order[held:]], y[order[held:]], rows, 1),
        *_many(x[order[:held]], y[order[:held]], validation, 2),
    )


def plain(turn: Turn, rows: int) -> Split:
    """Return images of digits as they are, up to a thousand to train on."""
    x, y = datasets.load_digits(return_X_y=True)
    x, y = turn(x.reshape(-1, 8, 8) / 16, y)
    return _parted(x[..., None].astype(np.float32), y.astype(np.int32), rows, len(x) // 3)


def _many(x: np.ndarray, y: np.ndarray, rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    at = np.concatenate([rng.permutation(len(x)) for _ in range(-(-rows // len(x)))])[:rows]
    moved = np.stack([np.roll(x[i], rng.integers(-1, 2, 2), (0, 1)) for i in at])
    moved = moved * rng.uniform(0.6, 1.2, (rows, 1, 1)) + rng.normal(0, 0.08, moved.shape)
    return moved[..., None].astype(np.float32), y[at].astype(np.int32)


def _all(x: np.ndarray, y: Any) -> tuple[np.ndarray, Any]:
    return x, y


def _low(x: np.ndarray, y: Any) -> tuple[np.ndarray, Any]:
    return x[y < 5], y[y < 5]


def _high(x: np.ndarray, y: Any) -> tuple[np.ndarray, Any]:
    return x[y >= 5], y[y >= 5] - 5


def _rotated(x: np.ndarray, y: Any) -> tuple[np.ndarray, Any]:
    return np.rot90(x, axes=(1, 2)), y


def _turned(x: np.ndarray, _: Any) -> tuple[np.ndarray, Any]:
    turns = np.random.default_rng(5).integers(0, 4, len(x))
    return np.stack([np.rot90(one, k) for one, k in zip(x, turns, strict=True)]), turns


def _itself(s: Split) -> Split:
    flat = s.x.reshape(len(s.x), -1)
    return Split(s.x, flat, s.x_val, s.x_val.reshape(len(s.x_val), -1))


def _waves(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return series of 64 values, the kind of wave that each is, and its frequency."""
    rng = np.random.default_rng(seed)
    t = np.arange(64) / 64
    kind, frequency = rng.integers(0, 4, rows), rng.uniform(2, 7, rows)
    phase = 2 * np.pi * (frequency[:, None] * t + rng.random((rows, 1)))
    shapes = [
        np.sin(phase),
        np.sign(np.sin(phase)),
        2 * (phase / 2 / np.pi % 1) - 1,
        np.sin(phase + 1.5 * np.sin(2 * phase)),
    ]
    x = np.choose(kind[:, None], shapes) * rng.uniform(0.5, 1.5, (rows, 1)) + rng.normal(0, 0.7, (rows, 64))
    return x.reshape(rows, 16, 4).astype(np.float32), kind.astype(np.int32), frequency


def shapes(rows: int) -> Split:
    """Return noisy series, and the kind of wave that each is."""
    x, kind, _ = _waves(rows + _VALIDATION, 11)
    return _parted(x, kind, rows)


def frequencies(rows: int) -> Split:
    """Return noisy series, and the frequency of each, standardised."""
    x, _, frequency = _waves(rows + _VALIDATION, 12)
    return _parted(x, ((frequency - 4.5) / 1.44).astype(np.float32)[:, None], rows)


def _masked_waves() -> Split:
    x = _waves(24_000, 13)[0]
    return _masked_patches(Split(x, x, x[:8], x[:8]))


def _patches(s: Split) -> Split:
    """Cut images of 8x8 into 16 patches of 2x2."""
    x, x_val = (
        one.reshape(-1, 4, 2, 4, 2).transpose(0, 1, 3, 2, 4).reshape(-1, 16, 4) for one in (s.x, s.x_val)
    )
    return Split(x, s.y, x_val, s.y_val)


def _masked_patches(s: Split) -> Split:
    """Hide patches; what is to be found there is the target, and NaN stands elsewhere."""
    hidden = np.random.default_rng(6).random((*s.x.shape[:2], 1)) < 0.3
    x = np.where(hidden, 0, s.x).astype(np.float32)
    return Split(x, np.where(hidden, s.x, np.nan).astype(np.float32), x[:8], s.x[:8])


def _hidden_tokens(y: Any, z: Any) -> Any:
    ops = keras.ops
    known = ops.cast(y >= 0, "float32")
    losses = ops.sparse_categorical_crossentropy(ops.maximum(y, 0), z, from_logits=True)
    return ops.sum(losses * known, axis=-1) / (ops.sum(known, axis=-1) + 1e-6)


def _hidden_patches(y: Any, z: Any) -> Any:
    ops = keras.ops
    known = ops.logical_not(ops.isnan(y))
    return ops.mean(ops.where(known, ops.square(ops.where(known, y, 0.0) - z), 0.0), axis=(1, 2))


# --- Nets ---------------------------------------------------------------------------------------------------


@functools.cache
def _layers() -> Any:
    """Define the layers, once Keras is there."""

    class Embedded(keras.layers.Layer):
        """Tokens or patches, with learnt positions."""

        def __init__(self, width: int, length: int, vocabulary: int = 0) -> None:
            super().__init__()
            layers = keras.layers
            self.what = layers.Embedding(vocabulary, width) if vocabulary else layers.Dense(width)
            self.where = layers.Embedding(length, width)
            self.length = length

        def call(self, x: Any) -> Any:
            return self.what(x) + self.where(keras.ops.arange(self.length))

    class Block(keras.layers.Layer):
        """Attention and a dense net, each added to what came before."""

        def __init__(self, width: int, heads: int, causal: bool) -> None:
            super().__init__()
            layers = keras.layers
            self.causal = causal
            self.first, self.second = layers.LayerNormalization(), layers.LayerNormalization()
            self.attention = layers.MultiHeadAttention(heads, width // heads)
            self.wide, self.narrow = layers.Dense(2 * width, activation="gelu"), layers.Dense(width)

        def call(self, h: Any) -> Any:
            n = self.first(h)
            h = h + self.attention(n, n, use_causal_mask=self.causal)
            return h + self.narrow(self.wide(self.second(h)))

    class Residual(keras.layers.Layer):
        """Two convolutions with batch normalisation, added to what came before."""

        def __init__(self, filters: int) -> None:
            super().__init__()
            layers = keras.layers
            self.convolutions = [layers.Conv2D(filters, 3, padding="same", use_bias=False) for _ in range(2)]
            self.norms = [layers.BatchNormalization() for _ in range(2)]

        def call(self, h: Any, training: bool | None = None) -> Any:
            n = keras.ops.relu(self.norms[0](self.convolutions[0](h), training=training))
            return keras.ops.relu(h + self.norms[1](self.convolutions[1](n), training=training))

    return Embedded, Block, Residual


def _transformer(width: int, blocks: int, *, tokens: bool, causal: bool = False) -> list[Any]:
    embedded, block, _ = _layers()
    length, vocabulary = (LENGTH, VOCABULARY) if tokens else (16, 0)
    stack = [embedded(width, length, vocabulary), *(block(width, 4, causal) for _ in range(blocks))]
    return [*stack, keras.layers.LayerNormalization()]


def _cnn() -> list[Any]:
    layers = keras.layers
    return [
        layers.Conv2D(16, 3, activation="relu", padding="same"),
        layers.Conv2D(32, 3, strides=2, activation="relu"),
        layers.Conv2D(32, 3, activation="relu"),
        layers.Flatten(),
    ]


def _resnet() -> list[Any]:
    layers, residual = keras.layers, _layers()[2]
    return [
        layers.Conv2D(16, 3, padding="same", use_bias=False),
        layers.BatchNormalization(),
        residual(16),
        layers.MaxPooling2D(),
        residual(16),
        residual(16),
        layers.GlobalAveragePooling2D(),
    ]


def _dense() -> list[Any]:
    layers = keras.layers
    return [
        layers.Flatten(),
        layers.Dense(96, activation="relu"),
        layers.Dense(48, activation="relu"),
        layers.Dense(24, activation="relu"),
    ]


def _gru() -> list[Any]:
    layers = keras.layers
    return [layers.Embedding(VOCABULARY, 32), layers.GRU(64, return_sequences=True)]


@dataclass(frozen=True)
class Net:
    """A net and what it is trained on before.

    Attributes:
        base: Makes its layers.
        data: Makes the data of the first training.
        loss: The loss of it.
        head: Makes what is put on top for the first training.
        outputs: Where the features are: "mean" or "last" of a sequence, or "" where the base ends with them.
        batches: Batches of the first training.
        rate: Highest rate of it.
    """

    base: Callable[[], list[Any]]
    data: Callable[[], Split]
    loss: Loss
    head: Callable[[], list[Any]]
    pooled: str = ""
    batches: int = 2500
    rate: float = 2e-3


def _to_vocabulary() -> list[Any]:
    return [keras.layers.Dense(VOCABULARY)]


def _classifier() -> list[Any]:
    return [keras.layers.Dense(10)]


def _pooled_classifier() -> list[Any]:
    return [keras.layers.GlobalAveragePooling1D(), keras.layers.Dense(10)]


def _decoder() -> list[Any]:
    return [keras.layers.Dense(96, activation="relu"), keras.layers.Dense(64)]


NETS = {
    "decoder": Net(
        lambda: _transformer(64, 2, tokens=True, causal=True),
        _next_text,
        _hidden_tokens,
        _to_vocabulary,
        "mean",
    ),
    "encoder": Net(
        lambda: _transformer(32, 4, tokens=True), _masked_text, _hidden_tokens, _to_vocabulary, "mean"
    ),
    "patches": Net(
        lambda: _transformer(32, 3, tokens=False),
        lambda: _patches(images(_all, 12_000)),
        crossentropy,
        _pooled_classifier,
        "mean",
    ),
    "series": Net(
        lambda: _transformer(48, 2, tokens=False),
        _masked_waves,
        _hidden_patches,
        lambda: [keras.layers.Dense(4)],
        "mean",
    ),
    "cnn": Net(_cnn, lambda: images(_low, 4000), crossentropy, _classifier, batches=1000),
    "upright_cnn": Net(_cnn, lambda: images(_all, 6000), crossentropy, _classifier, batches=1000),
    "resnet": Net(_resnet, lambda: images(_all, 6000), crossentropy, _classifier, batches=800),
    "autoencoder": Net(_dense, lambda: _itself(images(_all, 8000)), squared, _decoder, batches=3000),
    "gru": Net(_gru, _next_text, _hidden_tokens, _to_vocabulary, "mean"),
    # Those on which no constant was chosen.
    "deep_decoder": Net(
        lambda: _transformer(48, 3, tokens=True, causal=True),
        _next_text,
        _hidden_tokens,
        _to_vocabulary,
        "mean",
    ),
    "wide_encoder": Net(
        lambda: _transformer(64, 2, tokens=True), _masked_text, _hidden_tokens, _to_vocabulary, "mean"
    ),
    "high_cnn": Net(_cnn, lambda: images(_high, 4000), crossentropy, _classifier, batches=1000),
}


def _first_model(net: Net) -> Any:
    return keras.Sequential([*net.base(), *net.head()])


def pretrain(name: str) -> pathlib.Path:
    """Train a net, unless that was done before, and return the file of the weights of its base."""
    file = FOLDER / f"{name}.npz"
    if file.exists():
        return file
    from bench.lab import Lab

    net = NETS[name]
    lab = Lab(Task(f"{name}_before", net.data, lambda: _first_model(net), net.loss, ADAMW, 32, 1))
    warm = np.minimum(np.arange(1, net.batches + 1) / 100, 1.0)
    rates = net.rate * warm * (0.5 + 0.5 * np.cos(np.pi * np.arange(net.batches) / net.batches))
    losses = lab.train(lab.start(0), 0, rates)
    print(f"{name}: loss {losses[:20].mean():.3f} -> {losses[-200:].mean():.3f}", flush=True)
    FOLDER.mkdir(parents=True, exist_ok=True)
    base = lab.model.layers[: len(net.base())]
    np.savez(file, *[v.numpy() for layer in base for v in layer.weights])
    return file


def fine_tuned(name: str, outputs: int, part: str = "whole", *, scratch: bool = False) -> Any:
    """Return a model with the base of a net and a new head; call it before you use its weights.

    Args:
        name: The net.
        outputs: Outputs of the head.
        part: What of the base is trained: the "whole", the "upper" half, or nothing ("frozen").
        scratch: Whether to leave the weights as they are made.
    """
    net = NETS[name]
    base = net.base()
    pooled = [
        keras.layers.Lambda(lambda h: h[:, -1])
        if net.pooled == "last"
        else keras.layers.GlobalAveragePooling1D()
    ]
    model = keras.Sequential([*base, *(pooled if net.pooled else []), keras.layers.Dense(outputs)])
    if not scratch:
        tokens = net.pooled and net.data in (_next_text, _masked_text)
        shape = (LENGTH,) if tokens else (16, 4) if net.pooled else (8, 8, 1)
        model(np.zeros((1, *shape), np.int32 if tokens else np.float32))
        with np.load(pretrain(name)) as kept:
            values = [kept[key] for key in kept.files]
        for variable, value in zip([v for layer in base for v in layer.weights], values, strict=True):
            variable.assign(value)
    with_weights = [layer for layer in base if layer.weights] if not scratch else base
    frozen = {"whole": 0, "upper": (len(with_weights) + 1) // 2, "frozen": len(with_weights)}[part]
    for layer in with_weights[:frozen]:
        layer.trainable = False
    return model


# --- Tasks --------------------------------------------------------------------------------------------------


def wrong(y: Any, z: Any) -> Any:
    """Return 1 for each row whose class is not the likeliest one."""
    return keras.ops.cast(keras.ops.not_equal(keras.ops.argmax(z, -1), keras.ops.cast(y, "int64")), "float32")


def _of_patches(turn: Turn) -> Callable[[int], Split]:
    return lambda rows: _patches(plain(turn, rows))


_OPTIMIZERS = {"sgd": SGD, "mom": MOMENTUM, "adam": ADAM, "adamw": ADAMW}
# Net, data, outputs, and of each task: rows, what is trained, optimizer, batch size, epochs.
# fmt: off
_ROWS: list[tuple[str, Callable[[int], Split], int, list[tuple[int, str, str, int, int]]]] = [
    ("decoder", packages, 5, [
        (800, "whole", "adamw", 32, 5), (400, "whole", "adam", 16, 6), (800, "frozen", "adamw", 32, 6),
        (800, "upper", "adamw", 16, 4), (4000, "whole", "adamw", 64, 2), (1500, "whole", "mom", 32, 4)]),
    ("decoder", languages, 5, [(600, "whole", "adam", 8, 2), (300, "whole", "adamw", 16, 8)]),
    ("encoder", packages, 5, [
        (400, "whole", "adamw", 16, 6), (2000, "whole", "adam", 64, 4), (1000, "frozen", "adam", 32, 6)]),
    ("encoder", kinds, 3, [
        (600, "upper", "adamw", 8, 2), (1500, "whole", "adamw", 32, 4), (1000, "whole", "mom", 16, 3)]),
    ("patches", _of_patches(_rotated), 10, [
        (500, "whole", "adamw", 16, 6), (1000, "upper", "adam", 32, 6), (300, "frozen", "adamw", 16, 12)]),
    ("patches", _of_patches(_turned), 4, [(1000, "whole", "adam", 32, 6), (800, "whole", "mom", 32, 6)]),
    ("series", shapes, 4, [
        (800, "whole", "adamw", 32, 8), (400, "upper", "adam", 16, 8), (800, "frozen", "adam", 32, 8)]),
    ("series", frequencies, 1, [(1500, "whole", "adamw", 64, 8), (3000, "whole", "adam", 64, 5)]),
    ("cnn", functools.partial(plain, _high), 5, [
        (500, "whole", "adam", 32, 12), (500, "frozen", "adam", 32, 12), (200, "whole", "sgd", 16, 20)]),
    ("upright_cnn", functools.partial(plain, _rotated), 10, [
        (1000, "whole", "mom", 32, 8), (400, "upper", "adamw", 8, 6)]),
    ("resnet", functools.partial(plain, _rotated), 10, [
        (800, "whole", "mom", 32, 8), (400, "whole", "adamw", 16, 12), (800, "frozen", "adam", 32, 10)]),
    ("autoencoder", functools.partial(plain, _all), 10, [
        (300, "whole", "adam", 16, 15), (600, "frozen", "adamw", 32, 15), (600, "whole", "sgd", 32, 15)]),
    ("gru", packages, 5, [(1000, "whole", "adam", 32, 5), (1000, "frozen", "adamw", 32, 6)]),
    ("gru", kinds, 3, [(500, "whole", "adamw", 16, 5)]),
    ("deep_decoder", kinds, 3, [(800, "whole", "adamw", 32, 4), (400, "whole", "adam", 16, 6)]),
    ("deep_decoder", packages, 5, [(1200, "whole", "adamw", 32, 4)]),
    ("wide_encoder", languages, 5, [(600, "whole", "adamw", 32, 5), (1000, "whole", "adam", 16, 3)]),
    ("wide_encoder", packages, 5, [(800, "whole", "adamw", 32, 5)]),
    ("high_cnn", functools.partial(plain, _low), 5, [
        (500, "whole", "adam", 32, 12), (250, "whole", "adamw", 16, 12)]),
]
# fmt: on


def _tasks() -> Iterator[Task]:
    """Yield each task, and the same net from scratch for the first task of a net that is trained whole."""
    for number, (net, data, outputs, variants) in enumerate(_ROWS):
        for rows, part, optimizer, batch, epochs in variants:
            for scratch in (False, True) if (rows, part) == (variants[0][0], "whole") else (False,):
                yield Task(
                    f"pretrained{number}_{net}_{rows}_{part}_{optimizer}{'_scratch' * scratch}",
                    functools.partial(data, rows),
                    functools.partial(fine_tuned, net, outputs, part, scratch=scratch),
                    squared if outputs == 1 else crossentropy,
                    _OPTIMIZERS[optimizer],
                    batch,
                    epochs,
                    per_decade=2,
                    seeds=2,
                    judged=squared if outputs == 1 else wrong,
                    is_pretrained=not scratch and part == "whole",
                )


TASKS = list(_tasks())


if __name__ == "__main__":
    for name in NETS:
        pretrain(name)
