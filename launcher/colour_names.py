"""Names of colours, measured from pixels."""

import numpy as np

# Those of Berlin and Kay 1969, which English and most other languages have a word for.
COLOURS = ("black", "white", "grey", "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown")
UNNAMED = -1

# The main colour has a share of the pixels of at least SHARE, and of MARGIN more than the next: else there is none.
SHARE = 0.4
MARGIN = 0.2


def colour_numbers(rgb):
    """The colour of each of the pixels, bytes [n, 3], as its place in COLOURS; UNNAMED where people would not agree.

    By hue (degrees), saturation and value. Without a name are: nearly black, nearly white, hardly coloured; beige between
    white and brown, olive between yellow and green, turquoise between green and blue.
    """
    rgb = rgb.astype(np.float64)
    red, green, blue = rgb.T
    high, low = rgb.max(axis=1), rgb.min(axis=1)
    chroma = high - low
    value = high / 255
    saturation = np.divide(chroma, high, out=np.zeros_like(chroma), where=high > 0)
    scale = np.where(chroma > 0, chroma, 1)
    hue = 60 * np.select([high == red, high == green], [(green - blue) / scale % 6, (blue - red) / scale + 2],
                         (red - green) / scale + 4)

    coloured = (saturation >= 0.25) & (value >= 0.25)
    reddish = (hue < 15) | (hue >= 335)
    rules = (
        ("black", value < 0.18),
        ("white", (saturation < 0.08) & (value > 0.92)),
        ("grey", (saturation < 0.1) & (value >= 0.25) & (value <= 0.85)),
        ("pink", (value > 0.8) & (saturation >= 0.2) & (((hue >= 320) & (hue < 335) & (saturation < 0.95))
                                                        | ((hue >= 335) & (saturation < 0.6))
                                                        | ((hue < 15) & (saturation < 0.5)))),
        ("red", coloured & reddish & (saturation >= 0.6)),
        ("brown", coloured & (hue >= 15) & (hue < 45) & (saturation >= 0.35) & ((value < 0.7) | (saturation < 0.6))
                  & (value < 0.85)),
        ("orange", coloured & (hue >= 15) & (hue < 45) & (saturation >= 0.6) & (value >= 0.8)),
        ("yellow", coloured & (hue >= 47) & (hue < 68) & (saturation >= 0.35) & (value >= 0.7)),
        ("green", coloured & (hue >= 75) & (hue < 165)),
        ("blue", coloured & (hue >= 190) & (hue < 250)),
        ("purple", coloured & (hue >= 260) & (hue < 320)),
    )
    return np.select([matches for _, matches in rules], [COLOURS.index(name) for name, _ in rules], UNNAMED)


def main_colour(rgb):
    """The name of the main colour of pixels [n, 3], or None where no colour leads by enough."""
    if not len(rgb):
        return None
    numbers = colour_numbers(rgb)
    shares = np.bincount(numbers[numbers != UNNAMED], minlength=len(COLOURS)) / len(rgb)
    second, first = np.sort(shares)[-2:]
    return COLOURS[int(shares.argmax())] if first >= SHARE and first - second >= MARGIN else None
