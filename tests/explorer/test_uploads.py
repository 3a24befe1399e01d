"""Pictures that people upload: what can be read becomes a digit, anything else one sentence with its name."""

import io
import zlib
from datetime import UTC, datetime

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageOps

from tvae_core.explorer.panel_digit import MOST_PIXELS, as_digit, draw_strokes, read_upload

SEVEN = [(60.0, 60.0), (160.0, 60.0), (110.0, 170.0)]
DRAWN = draw_strokes([SEVEN])  # white on black
TRUTH = as_digit(DRAWN)


def on_transparent(ink, beside=None) -> Image.Image:
    """The seven in one colour, everything else transparent (and of the colour `beside` underneath)."""
    picture = Image.new("RGBA", DRAWN.size, (*(beside or ink), 0))
    picture.paste(Image.new("RGBA", DRAWN.size, (*ink, 255)), (0, 0), DRAWN)
    return picture


def saved(picture: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def turned(orientation: int, turn: Image.Transpose) -> bytes:
    """A JPEG of the seven that lies as a phone stores it, with the EXIF that turns it upright."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(DRAWN.transpose(turn), "jpeg", exif=exif, quality=95)


def palette(transparent: int) -> bytes:
    """A PNG of two colours, ink 0 and paper 1, one of them transparent."""
    picture = Image.fromarray((np.asarray(DRAWN) < 128).astype(np.uint8), "P")
    picture.putpalette([20, 20, 120, 255, 255, 255])
    return saved(picture, "png", transparency=transparent)


def animated() -> bytes:
    later = Image.new("L", DRAWN.size)
    return saved(DRAWN, "gif", save_all=True, append_images=[later, ImageOps.invert(DRAWN)])


def sixteen_bits(low: int, high: int) -> bytes:
    """A grey PNG of 16 bits for each pixel whose values run from low to high."""
    values = low + np.asarray(DRAWN, np.float64) / 255 * (high - low)
    return saved(Image.fromarray(values.astype(np.uint16)), "png")


def photo() -> Image.Image:
    """A picture of 100 million pixels, as a phone takes it: ink on paper."""
    return ImageOps.invert(DRAWN).resize((10_000, 10_000))


BROWN, NAVY, CREAM = (120, 70, 30), (0, 0, 90), (255, 250, 220)
GOOD = {
    "black on transparent": saved(on_transparent((0, 0, 0)), "png"),
    "white on transparent white": saved(on_transparent((255, 255, 255)), "png"),
    "cream on transparent black": saved(on_transparent(CREAM, (0, 0, 0)), "png"),
    "navy on transparent, grey and alpha": saved(on_transparent(NAVY).convert("LA"), "png"),
    "brown on transparent, webp": saved(on_transparent(BROWN), "webp", lossless=True),
    "palette with transparent paper": palette(1),
    "palette with transparent ink": palette(0),
    "a quarter turn in EXIF": turned(6, Image.Transpose.ROTATE_90),
    "half a turn in EXIF": turned(3, Image.Transpose.ROTATE_180),
    "mirrored in EXIF": turned(2, Image.Transpose.FLIP_LEFT_RIGHT),
    "EXIF that cannot be read": saved(DRAWN, "jpeg", exif=b"Exif\0\0" + b"\xff" * 40, quality=95),
    "16 bits": sixteen_bits(0, 65_535),
    "16 bits, dark": sixteen_bits(300, 900),
    "32 bits": saved(Image.fromarray(np.asarray(DRAWN, np.float32) / 255), "tiff"),
    "infinite values": saved(
        Image.fromarray(np.where(np.asarray(DRAWN) > 128, np.inf, np.nan).astype(np.float32)), "tiff"
    ),
    "16 bits, ink on paper": sixteen_bits(65_535, 0),
    "animated PNG": saved(DRAWN, "png", save_all=True, append_images=[ImageOps.invert(DRAWN)]),
    "AVIF": saved(DRAWN.convert("RGB"), "avif"),
    "CMYK": saved(ImageOps.invert(DRAWN).convert("CMYK"), "jpeg", quality=95),
    "animated": animated(),
    "one bit": saved(ImageOps.invert(DRAWN).convert("1"), "png"),
    "a JPEG called .png": saved(DRAWN, "jpeg", quality=95),
}


@pytest.mark.parametrize("case", GOOD)
def test_what_people_draw_becomes_the_digit(case):
    digit = as_digit(read_upload(GOOD[case], "seven.png"))
    assert (digit.double() - TRUTH).abs().mean() < 6
    assert torch.corrcoef(torch.stack([digit.flatten(), TRUTH.flatten()]).double())[0, 1] > 0.96


def test_a_large_photograph_is_read():
    digit = as_digit(read_upload(saved(photo(), "jpeg"), "photo.jpg"))
    assert (digit.double() - TRUTH).abs().mean() < 8


def test_thin_lines_stay_visible():
    picture = Image.new("L", (1_500, 1_500), 255)
    ImageDraw.Draw(picture).line([(8 * x, 8 * y) for x, y in SEVEN], 0, 6)
    assert as_digit(picture).max() == 255


def bomb(side: int) -> bytes:
    """A PNG whose header says side × side pixels, and which holds none of them."""
    header = b"IHDR" + side.to_bytes(4, "big") * 2 + bytes([8, 0, 0, 0, 0])
    parts = [
        (len(part) - 4).to_bytes(4, "big") + part + zlib.crc32(part).to_bytes(4, "big")
        for part in (header, b"IDAT" + zlib.compress(b""))
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


SVG = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><path d="M0 0"/></svg>'
TOO_MANY = f"has more than {MOST_PIXELS:,} pixels; make it smaller first"
UNREADABLE = "is not a picture that can be read, such as a PNG or JPEG"
BAD = {
    "an SVG": (SVG, f"{UNREADABLE}; export the SVG as PNG first"),
    "no bytes": (b"", f"{UNREADABLE}; the file is empty"),
    "text": (b"a seven", UNREADABLE),
    "cut short": (saved(DRAWN, "png")[:300], UNREADABLE),
    "cut in its header": (
        saved(DRAWN, "png")[:20],
        "is not a picture that can be read, such as a PNG or JPEG",
    ),
    "20,000 × 20,000": (bomb(20_000), TOO_MANY),
    "11,000 × 11,000": (bomb(11_000), TOO_MANY),
    "10⁹ × 10⁹": (bomb(10**9), TOO_MANY),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_read_is_named(case):
    content, sentence = BAD[case]
    with pytest.raises(ValueError) as said:
        as_digit(read_upload(content, "seven.png"))
    assert str(said.value) == f"seven.png {sentence}"


@pytest.mark.parametrize("ink, paper", [((255, 255, 255), 255), ((0, 0, 0), 0)])
def test_an_empty_picture_is_named(ink, paper):
    for picture in (Image.new("RGBA", (50, 50), (*ink, 0)), Image.new("L", (50, 50), paper)):
        with pytest.raises(ValueError, match=r"seven\.png is empty: draw a digit, or upload one"):
            as_digit(picture, "seven.png")


def upload(name: str, content: bytes) -> dict:
    """A file as the widget FileUpload has it."""
    file = {"name": name, "type": "image/png", "size": len(content), "last_modified": datetime.now(UTC)}
    return {**file, "content": memoryview(content)}


def test_the_panel_shows_the_sentence_and_keeps_what_was_there(explorer, digit_panel):
    before = explorer.roll
    for case, (content, sentence) in BAD.items():
        digit_panel.upload.value = [upload(f"<{case}>.png", content)]
        assert f"&lt;{case}&gt;.png {sentence}" in digit_panel.problem.value
        assert "fault of the program" not in digit_panel.problem.value
        assert explorer.roll is before and digit_panel.words.value == ""
    digit_panel.upload.value = [upload("seven.png", GOOD["16 bits"])]
    assert digit_panel.problem.value == "" and explorer.own.digit.equal(as_digit(DRAWN))
