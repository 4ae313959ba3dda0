"""Image files of every odd kind become upright 8-bit RGB, or a sentence."""

from __future__ import annotations

import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tlstudio.api import DataError
from tlstudio.api.images import MAX_PIXELS, image_size, open_image


def pixels(path: Path) -> np.ndarray:
    image = open_image(path)
    assert image.mode == "RGB"
    return np.asarray(image)


def png_claiming(path: Path, width: int, height: int) -> Path:
    """Write a PNG of a few bytes whose header promises many pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "gif", "tif", "webp"])
def test_each_format_gives_its_colours(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"图像 é.{suffix}"
    Image.new("RGB", (9, 7), (250, 20, 30)).save(path)
    found = pixels(path)
    assert found.shape == (7, 9, 3)
    assert np.abs(found.astype(int) - (250, 20, 30)).max() <= 8


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_cmyk_becomes_rgb(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(path)
    red, green, blue = pixels(path).reshape(-1, 3).mean(axis=0)
    assert red > 240
    assert green < 15
    assert blue < 15


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("values", [[0, 32768, 65535], [0, 2048, 4095], [1000, 1502, 2000]])
def test_16_bit_grey_is_scaled_by_its_own_range(tmp_path: Path, suffix: str, values: list[int]) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(np.array([values], dtype=np.uint16)).save(path)
    assert pixels(path)[0].tolist() == [[0, 0, 0], [128, 128, 128], [255, 255, 255]]


def test_float_grey_is_scaled_by_its_own_range_and_what_is_no_number_is_black(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    Image.fromarray(np.array([[-1.0, 0.0, 1.0, np.nan, np.inf, -np.inf]], dtype=np.float32)).save(path)
    assert pixels(path)[0, :, 0].tolist() == [0, 128, 255, 0, 255, 0]


@pytest.mark.parametrize("value", [np.nan, 7.0])
def test_a_float_image_without_any_contrast_is_black(tmp_path: Path, value: float) -> None:
    path = tmp_path / "a.tif"
    Image.fromarray(np.full((4, 4), value, dtype=np.float32)).save(path)
    assert pixels(path).max() == 0


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tif"])
def test_an_animation_gives_its_first_frame(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    first, second = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "blue")
    if suffix == "webp":
        first.save(path, save_all=True, append_images=[second], lossless=True)
    else:
        first.save(path, save_all=True, append_images=[second])
    assert np.abs(pixels(path)[4, 4].astype(int) - (255, 0, 0)).max() <= 4


def test_transparency_is_laid_on_white(tmp_path: Path) -> None:
    palette = Image.new("P", (4, 4), 0)
    palette.putpalette([255, 0, 0, 0, 255, 0])
    palette.save(tmp_path / "palette.png", transparency=0)
    palette.save(tmp_path / "palette.gif", transparency=0)
    palette.save(tmp_path / "half.png", transparency=bytes([128, 255]))
    Image.new("LA", (4, 4), (0, 0)).save(tmp_path / "grey.png")
    Image.new("RGB", (4, 4), (1, 2, 3)).save(tmp_path / "key.png", transparency=(1, 2, 3))
    for name in ("palette.png", "palette.gif", "grey.png", "key.png"):
        assert pixels(tmp_path / name)[0, 0].tolist() == [255, 255, 255], name
    assert pixels(tmp_path / "half.png")[0, 0].tolist() == [255, 127, 127]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int, suffix: str) -> None:
    upright = np.zeros((16, 32), dtype=np.uint8)
    upright[:8, :16] = 255  # the upper left quarter is white
    # What a camera stores that was held so: the inverse of the turn that the tag asks for.
    turns = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].T,
        8: np.rot90(upright, -1),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{suffix}"
    stored = Image.fromarray(np.ascontiguousarray(turns[orientation])).convert("RGB")
    stored.save(path, exif=exif, quality=95)
    found = pixels(path)
    assert found.shape == (16, 32, 3)
    assert np.abs(found[..., 0].astype(int) - upright).max() < 30


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")  # Pillow says so, and goes on
@pytest.mark.parametrize("exif", [b"Exif\0\0garbage garbage garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0"])
def test_a_damaged_exif_block_does_not_cost_the_picture(tmp_path: Path, exif: bytes) -> None:
    path = tmp_path / "a.jpg"
    Image.new("RGB", (8, 8), "white").save(path, exif=exif)
    assert pixels(path).min() > 250


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "tif", "webp", "bmp"])
def test_a_truncated_file_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"cut.{suffix}"
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match=rf"cut\.{suffix} is damaged: .*Export or copy it again"):
        open_image(path)


def test_an_empty_file_a_text_a_folder_and_nothing_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.jpg").write_text("hello", encoding="utf-8")
    (tmp_path / "folder.png").mkdir()
    for name, sentence in {
        "empty.png": "is empty",
        "text.jpg": "is not an image that can be read",
        "folder.png": "is a folder",
        "gone.png": "is no longer there",
    }.items():
        with pytest.raises(DataError, match=sentence) as caught:
            open_image(tmp_path / name)
        assert caught.value.path == tmp_path / name
        assert caught.value.remedy


@pytest.mark.parametrize(("width", "height"), [(20_000, 10_000), (40_000, 20_000), (100_000, 100_000)])
def test_200_megapixels_are_refused_before_any_is_decoded(tmp_path: Path, width: int, height: int) -> None:
    path = png_claiming(tmp_path / "huge.png", width, height)
    with pytest.raises(DataError, match=rf"has {width * height // 1_000_000} megapixels; at most 100"):
        open_image(path)


def test_a_large_image_below_the_limit_opens_without_a_warning(tmp_path: Path) -> None:
    # One bit a pixel keeps the file and the time small; Pillow itself would warn from 89 megapixels on.
    path = tmp_path / "large.png"
    side = 9600
    assert 89_478_485 < side * side < MAX_PIXELS
    Image.new("1", (side, side), 1).save(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert open_image(path).size == (side, side)


def test_a_postscript_file_is_never_handed_to_an_interpreter(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n")
    with pytest.raises(DataError, match="is not an image"):
        open_image(path)


def test_a_large_jpeg_may_be_decoded_smaller(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.new("RGB", (4000, 3000), (200, 100, 50)).save(path)
    small = open_image(path, at_most=300)
    assert small.size == (500, 375)  # an eighth: still at least 300 a side
    assert open_image(path, at_most=2000).size == (4000, 3000)
    assert np.abs(np.asarray(small).reshape(-1, 3).mean(axis=0) - (200, 100, 50)).max() < 3


def test_a_large_image_is_converted_in_bands_as_a_small_one_is(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rgba = Image.fromarray(rng.integers(0, 256, (2100, 2100, 4), dtype=np.uint8))
    rgba.save(tmp_path / "clear.png", compress_level=1)
    expected = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    assert np.array_equal(np.asarray(open_image(tmp_path / "clear.png")), np.asarray(expected))
    deep = np.arange(2100 * 2100, dtype=np.uint32).reshape(2100, 2100) % 4096
    Image.fromarray(deep.astype(np.uint16)).save(tmp_path / "deep.png", compress_level=1)
    grey = (deep.astype(np.float32) * np.float32(255 / 4095)).round().astype(np.uint8)
    assert np.abs(np.asarray(open_image(tmp_path / "deep.png"))[..., 0].astype(int) - grey).max() <= 1


def test_a_palette_that_is_missing_is_told(tmp_path: Path) -> None:
    path = tmp_path / "palette.png"
    Image.new("P", (9, 9)).save(path)
    data = path.read_bytes()
    start = data.index(b"PLTE") - 4
    length = int.from_bytes(data[start : start + 4], "big")
    path.write_bytes(data[:start] + data[start + 12 + length :])
    with pytest.raises(DataError, match=r"palette\.png is damaged"):
        open_image(path)


@pytest.mark.parametrize(("content", "said"), [(None, "no longer there"), (b"", "is empty"), (b"text", "not an image")])
def test_why_an_image_has_no_size_is_told(content: bytes | None, said: str, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=said):
        image_size(path)
