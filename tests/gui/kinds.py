"""Small sources of every kind of data, drawn and sounded from a seed, in the files that people have."""

from __future__ import annotations

import csv
import json
import math
import random
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image, ImageDraw, ImageFilter

SPECIES = ("Adelie", "Chinstrap", "Gentoo")


def write_cells(folder: Path, count: int = 24, size: tuple[int, int] = (192, 144)) -> Path:
    """Write microscope-like images with masks of cells, their nuclei and debris, and return the folder."""
    made = random.Random(3)
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    (folder / "classes.txt").write_text("background\ncell\nnucleus\ndebris\n", encoding="utf-8")
    for number in range(count):
        image, mask = Image.new("RGB", size, (232, 226, 236)), Image.new("L", size, 0)
        draw, marks = ImageDraw.Draw(image), ImageDraw.Draw(mask)
        for _ in range(made.randrange(3, 7)):
            x, y, r = made.randrange(20, size[0] - 20), made.randrange(20, size[1] - 20), made.randrange(12, 26)
            flat = made.uniform(0.7, 1.1)
            outer, inner = (x - r, y - r * flat, x + r, y + r * flat), (x - r / 3, y - r / 3, x + r / 3, y + r / 3)
            draw.ellipse(outer, fill=(206, 160 + made.randrange(20), 200))
            marks.ellipse(outer, fill=1)
            draw.ellipse(inner, fill=(98, 60, 140))
            marks.ellipse(inner, fill=2)
        for _ in range(made.randrange(1, 4)):
            x, y = made.randrange(size[0] - 12), made.randrange(size[1] - 8)
            draw.rectangle((x, y, x + 10, y + 5), fill=(120, 110, 90))
            marks.rectangle((x, y, x + 10, y + 5), fill=3)
        image.filter(ImageFilter.GaussianBlur(0.8)).save(folder / "images" / f"field_{number:03}.png")
        mask.save(folder / "masks" / f"field_{number:03}.png")
    return folder


def write_parts(folder: Path, count: int = 24, size: tuple[int, int] = (240, 160)) -> Path:
    """Write pictures of parts on a bench with a COCO file of boxes around them, and return the folder."""
    made = random.Random(5)
    names = ("nut", "screw", "washer")
    (folder / "images").mkdir(parents=True)
    images: list[dict[str, object]] = []
    boxes: list[dict[str, object]] = []
    for number in range(count):
        image = Image.new("RGB", size, (196, 188, 172))
        draw = ImageDraw.Draw(image)
        for _ in range(made.randrange(2, 6)):
            kind, edge = made.randrange(3), made.randrange(22, 44)
            x, y = made.randrange(size[0] - edge - 8), made.randrange(size[1] - edge - 8)
            width, height = (edge, edge) if kind != 1 else (edge, edge // 3)
            area = (x, y, x + width, y + height)
            if kind == 0:
                draw.regular_polygon((x + edge / 2, y + edge / 2, edge / 2), 6, fill=(110, 112, 120))
            elif kind == 1:
                draw.rounded_rectangle(area, 3, fill=(80, 82, 92))
            else:
                draw.ellipse(area, fill=(150, 152, 160))
                middle = edge / 3
                draw.ellipse((x + middle, y + middle, x + edge - middle, y + edge - middle), fill=(196, 188, 172))
            boxes.append({"id": len(boxes), "image_id": number, "category_id": kind, "bbox": [x, y, width, height]})
        name = f"bench_{number:03}.jpg"
        image.save(folder / "images" / name, quality=92)
        images.append({"id": number, "file_name": name, "width": size[0], "height": size[1]})
    categories = [{"id": place, "name": name} for place, name in enumerate(names)]
    content = {"images": images, "annotations": boxes, "categories": categories}
    (folder / "instances.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def write_memes(folder: Path, count: int = 18) -> Path:
    """Write pictures and a table of them with a text and a label each, and return the table's path."""
    write_parts(folder, count)
    with (folder / "memes.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "text", "label"])
        for number in range(count):
            label = ("funny", "sad")[number % 2]
            writer.writerow([f"images/bench_{number:03}.jpg", f"when the {label} part is missing, no. {number}", label])
    return folder / "memes.csv"


def write_calls(folder: Path, each: int = 8, rate: int = 16_000) -> Path:
    """Write recordings of three kinds of sound in subfolders, and return the folder."""
    noise = np.random.default_rng(7)
    for name in ("bird", "engine", "rain"):
        (folder / name).mkdir(parents=True)
        for number in range(each):
            seconds = 0.8 + 0.15 * number
            t = np.arange(int(seconds * rate)) / rate
            if name == "bird":
                sweep = 2500 + 900 * np.sin(2 * np.pi * (3 + number * 0.3) * t)
                sound = np.sin(2 * np.pi * np.cumsum(sweep) / rate) * (np.sin(2 * np.pi * 4 * t) > 0)
            elif name == "engine":
                sound = np.sum([np.sin(2 * np.pi * (70 + 4 * number) * k * t) / k for k in range(1, 9)], axis=0)
            else:
                sound = noise.normal(size=len(t)) * (0.4 + 0.2 * np.sin(2 * np.pi * t))
            sound = 0.6 * sound / np.abs(sound).max() + 0.01 * noise.normal(size=len(t))
            soundfile.write(folder / name / f"{name}_{number:02}.wav", sound.astype(np.float32), rate)
    return folder


def write_penguins(path: Path, count: int = 120) -> Path:
    """Write a table of measured penguins with missing cells, and return its path."""
    made = random.Random(11)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["island", "bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g", "species"])
        for number in range(count):
            kind = number % 3
            row = [
                ("Torgersen", "Dream", "Biscoe")[made.choice((kind, made.randrange(3)))],
                f"{(38.8, 48.8, 47.5)[kind] + made.gauss(0, 2.5):.1f}",
                f"{(18.3, 18.4, 15.0)[kind] + made.gauss(0, 1):.1f}",
                f"{(190, 196, 217)[kind] + made.gauss(0, 6):.0f}",
                "" if made.random() < 0.08 else f"{(3700, 3730, 5080)[kind] + made.gauss(0, 350):.0f}",
            ]
            writer.writerow([*row, SPECIES[kind]])
    return path


def write_load(path: Path, count: int = 420) -> Path:
    """Write an hourly series of electric load and temperature, and return its path."""
    made = random.Random(13)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["time", "load_mw", "temperature"])
        for hour in range(count):
            day = math.sin(2 * math.pi * (hour % 24 - 7) / 24)
            week = -4 if hour // 24 % 7 >= 5 else 0
            load = 62 + 11 * day + week + made.gauss(0, 1.2)
            stamp = f"2026-03-{1 + hour // 24:02}T{hour % 24:02}:00"
            writer.writerow([stamp, f"{load:.2f}", f"{11 + 6 * day + made.gauss(0, 0.6):.1f}"])
    return path


def write_reports(path: Path, count: int = 60) -> Path:
    """Write a table of short reports with a summary each, and return its path."""
    made = random.Random(17)
    places = ("Lyon", "Kyoto", "Oslo", "Quito")
    things = ("a new bridge", "the city library", "a solar park", "the old harbour")
    acts = (("opens", "was opened to the public"), ("closes", "was closed for repairs"), ("grows", "will be enlarged"))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["article", "summary"])
        for _ in range(count):
            place, thing, (verb, told) = made.choice(places), made.choice(things), made.choice(acts)
            people = made.randrange(100, 900)
            article = f"In {place}, {thing} {told} on Monday. Some {people} people came to see it, the mayor said."
            writer.writerow([article, f"{place}: {thing} {verb}"])
    return path
