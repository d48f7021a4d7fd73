"""Draws the program's icon: three layers on a blue ground. Run it to make icon.png and icon.ico."""

from pathlib import Path

from PIL import Image, ImageDraw

SIZE = 1024  # drawn large and made small, so that every edge is smooth
TOP, BOTTOM = (91, 149, 255), (52, 94, 219)
WHITE = (255, 255, 255)
HERE = Path(__file__).resolve().parent


def ground() -> Image.Image:
    """A rounded square that grows darker downwards."""
    column = Image.new("RGB", (1, SIZE))
    for y in range(SIZE):
        share = y / (SIZE - 1)
        colour = tuple(round(a + share * (b - a)) for a, b in zip(TOP, BOTTOM, strict=True))
        column.putpixel((0, y), colour)
    mask = Image.new("L", (SIZE, SIZE))
    ImageDraw.Draw(mask).rounded_rectangle((16, 16, SIZE - 17, SIZE - 17), radius=224, fill=255)
    image = Image.new("RGBA", (SIZE, SIZE))
    image.paste(column.resize((SIZE, SIZE)), mask=mask)
    return image


def sheet(middle: float) -> list[tuple[float, float]]:
    """A flat square seen from the side."""
    wide, high, x = 310, 155, SIZE / 2
    return [(x, middle - high), (x + wide, middle), (x, middle + high), (x - wide, middle)]


def draw() -> Image.Image:
    """The icon: each sheet covers part of the one below it, with a gap of the ground between."""
    image = ground()
    back = image.copy()
    for middle, strength in ((660, 140), (525, 200), (390, 255)):
        gap = Image.new("L", (SIZE, SIZE))
        ImageDraw.Draw(gap).polygon(sheet(middle + 46), fill=255)
        if middle != 660:
            image.paste(back, mask=gap)
        layer = Image.new("L", (SIZE, SIZE))
        ImageDraw.Draw(layer).polygon(sheet(middle), fill=strength)
        image.paste(Image.new("RGBA", (SIZE, SIZE), (*WHITE, 255)), mask=layer)
    return image


def main() -> None:
    """Write both files."""
    image = draw()
    image.resize((256, 256), Image.Resampling.LANCZOS).save(HERE / "icon.png", optimize=True)
    sizes = [(n, n) for n in (16, 24, 32, 48, 64, 128, 256)]
    image.save(HERE / "icon.ico", sizes=sizes)


if __name__ == "__main__":
    main()
