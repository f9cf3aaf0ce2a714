"""Rendered digits, as many and as large as those of MNIST.

They are made from the fonts that matplotlib ships and from a fixed seed. A glyph is kept as the distance of
each point to its outline, so that an image is one look-up at bent coordinates.
"""

from __future__ import annotations

import pathlib

import numpy as np

from bench.data import Split
from bench.late import Late

matplotlib = Late("matplotlib")
ndimage = Late("scipy.ndimage")
pillow = Late("PIL.Image")
drawing = Late("PIL.ImageDraw")
lettering = Late("PIL.ImageFont")

SLANTED = ("", "-Bold", "-Oblique", "-BoldOblique")
FONTS = [
    *(f"DejaVu{family}{style}" for family in ("Sans", "SansMono") for style in SLANTED),
    *(f"DejaVuSerif{style}" for style in ("", "-Bold", "-Italic", "-BoldItalic")),
    *(f"STIXGeneral{style}" for style in ("", "Bol", "Italic", "BolIta")),
    *("cmr10", "cmb10", "cmss10", "cmtt10"),
]
SIZE, GLYPH = 28, 20  # pixels of an image, and of a glyph's height before it is bent, as in MNIST
FINE = 5  # points of a stored glyph to a pixel
FIELD = 32 * FINE
CHUNK = 2000
# How far images are bent. Chosen once, by the error at Keras' default rate alone: about that on MNIST.
BENT = 1.25


def _distances(font: str, digit: int) -> np.ndarray:
    """Return the pixels from each point to the outline of a glyph, positive inside, [FIELD, FIELD]."""
    file = pathlib.Path(matplotlib.get_data_path(), "fonts", "ttf", f"{font}.ttf")
    image = pillow.new("L", (600, 600))
    letters = lettering.truetype(str(file), 300)
    drawing.Draw(image).text((300, 300), str(digit), 255, letters, anchor="mm")
    image = image.crop(image.getbbox())
    height = GLYPH * FINE
    image = image.resize((max(1, round(image.width * height / image.height)), height))
    field = np.zeros((FIELD, FIELD), bool)
    top, left = (FIELD - image.height) // 2, (FIELD - image.width) // 2
    field[top : top + image.height, left : left + image.width] = np.asarray(image) > 127
    inside, outside = (ndimage.distance_transform_edt(mask) for mask in (field, ~field))
    return ((inside - outside) / FINE).astype(np.float32)


def _images(glyphs: np.ndarray, which: np.ndarray, rng: np.random.Generator, bent: float) -> np.ndarray:
    """Draw these glyphs, each bent in its own way: [images, SIZE, SIZE], 0 to 255."""

    def drawn(spread: float) -> np.ndarray:
        return (bent * spread * rng.uniform(-1, 1, (len(which), 1, 1))).astype(np.float32)

    def waves(at: np.ndarray) -> np.ndarray:
        """Make lines crooked, in waves of 14 to 42 pixels."""
        height, frequency = drawn(1.2), 0.3 + rng.uniform(-0.15, 0.15, angle.shape)
        return height * np.sin(at * frequency + rng.uniform(0, 7, angle.shape))

    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32)[:, None] - (SIZE - 1) / 2
    y, x = y + drawn(2), x + drawn(2)
    angle = drawn(0.35)
    y, x = y * np.cos(angle) - x * np.sin(angle), y * np.sin(angle) + x * np.cos(angle)
    y, x = y * np.exp(drawn(0.25)), x * np.exp(drawn(0.25)) + y * drawn(0.3)
    y, x = y + waves(x), x + waves(y)
    rows, columns = (np.clip((at * FINE + FIELD / 2).astype(np.int32), 0, FIELD - 1) for at in (y, x))
    inside = glyphs[which[:, None, None], rows, columns] + rng.uniform(-0.2, 0.8, angle.shape)
    ink = np.clip(0.5 + inside, 0, 1) + rng.normal(0, 0.1, inside.shape)
    return (255 * np.clip(ink, 0, 1)).astype(np.uint8)


def rendered_digits(train: int = 60000, test: int = 10000, bent: float = BENT) -> Split:
    """Return images of digits, [n, 28, 28, 1] from 0 to 1, to train and to test on."""
    glyphs = np.stack([_distances(font, digit) for digit in range(10) for font in FONTS])
    rng = np.random.default_rng(12)
    which = rng.integers(0, len(glyphs), train + test)
    parts = [_images(glyphs, which[i : i + CHUNK], rng, bent) for i in range(0, len(which), CHUNK)]
    x, y = np.concatenate(parts)[..., None] / np.float32(255), (which // len(FONTS)).astype(np.int32)
    return Split(x[:train], y[:train], x[train:], y[train:])
