"""Where the emoji's drawings come from: each class answers png(emoji) with a PNG's bytes, or None if it has no such."""

import io
from pathlib import Path

from fontTools.ttLib import TTFont
from PIL import Image, ImageDraw, ImageFont

from emoji_names import EMOJI_PRESENTATION, ZERO_WIDTH_JOINER, without

SYMBOLA_PIXELS = 96
SYMBOLA_MARGIN = 3


class NotoFont:
    """Bitmaps of a CBDT font by sequence: the character map, then the ligatures, as a text shaper applies them."""

    def __init__(self, data):
        self.font_ = TTFont(io.BytesIO(data), lazy=True)
        self.characters_ = self.font_.getBestCmap()
        self.bitmaps_ = self.font_["CBDT"].strikeData[0]
        substitutions = self.font_["GSUB"].table
        self.ligatures_ = {
            (first, *ligature.Component): ligature.LigGlyph
            for lookup in substitutions.LookupList.Lookup if lookup.LookupType == 4
            for table in lookup.SubTable
            for first, ligatures in table.ligatures.items()
            for ligature in ligatures
        }

    def png(self, emoji):
        """The glyph's own PNG as it stands in the font, or None."""
        points = without(emoji.code_points, EMOJI_PRESENTATION)
        glyphs = tuple(self.characters_.get(point) for point in points)
        glyph = glyphs[0] if len(glyphs) == 1 else self.ligatures_.get(glyphs)
        bitmap = self.bitmaps_.get(glyph) if glyph else None
        return bytes(bitmap.imageData) if bitmap else None


class SymbolaFont:
    """Outlines rendered black on white, each scaled to fill its square."""

    def __init__(self, data):
        self.data_ = data
        self.characters_ = TTFont(io.BytesIO(data), lazy=True).getBestCmap()
        self.sizes_ = {}

    def font(self, size):
        if size not in self.sizes_:
            engine = ImageFont.Layout.BASIC
            self.sizes_[size] = ImageFont.truetype(io.BytesIO(self.data_), size, layout_engine=engine)
        return self.sizes_[size]

    def png(self, emoji):
        points = without(emoji.code_points, EMOJI_PRESENTATION)
        if len(points) != 1 or points[0] not in self.characters_:
            return None
        text, room = chr(points[0]), SYMBOLA_PIXELS - 2 * SYMBOLA_MARGIN
        left, top, right, bottom = self.font(SYMBOLA_PIXELS).getbbox(text)
        extent = max(right - left, bottom - top)
        if extent <= 0:
            return None
        font = self.font(max(8, SYMBOLA_PIXELS * room // extent))
        left, top, right, bottom = font.getbbox(text)
        image = Image.new("L", (SYMBOLA_PIXELS, SYMBOLA_PIXELS), 255)
        corner = ((SYMBOLA_PIXELS - left - right) / 2, (SYMBOLA_PIXELS - top - bottom) / 2)
        ImageDraw.Draw(image).text(corner, text, font=font, fill=0)
        file = io.BytesIO()
        image.save(file, "PNG")
        return file.getvalue()


class EmojiOne:
    """64x64 PNGs named by code points, without joiners and presentation selectors."""

    def __init__(self, members):
        self.files_ = {}
        for path, data in members.items():
            if "/assets/png/" in path and path.endswith(".png"):
                points = tuple(int(point, 16) for point in Path(path).stem.split("-"))
                self.files_[self.key(points)] = data

    @staticmethod
    def key(code_points):
        return without(code_points, EMOJI_PRESENTATION, ZERO_WIDTH_JOINER)

    def png(self, emoji):
        return self.files_.get(self.key(emoji.code_points))
