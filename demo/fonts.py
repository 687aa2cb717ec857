"""The free Chinese fonts that the demo draws with, found where Debian's packages put them."""

from functools import cache
from pathlib import Path

from PIL import ImageFont

INSTALL_HINT = (
    "run scripts/install_system_packages.sh, or install fonts-noto-cjk, fonts-wqy-microhei, fonts-wqy-zenhei, "
    "fonts-arphic-ukai and fonts-arphic-uming"
)

# name -> (file, face in the collection); in Noto's collections face 2 is Simplified Chinese.
FACES: dict[str, tuple[str, int]] = {
    "noto-sans": ("opentype/noto/NotoSansCJK-Regular.ttc", 2),
    "noto-sans-bold": ("opentype/noto/NotoSansCJK-Bold.ttc", 2),
    "noto-serif": ("opentype/noto/NotoSerifCJK-Regular.ttc", 2),
    "wqy-microhei": ("truetype/wqy/wqy-microhei.ttc", 0),
    "wqy-zenhei": ("truetype/wqy/wqy-zenhei.ttc", 0),
    "arphic-kai": ("truetype/arphic/ukai.ttc", 0),
    "arphic-ming": ("truetype/arphic/uming.ttc", 0),
}
TRAINED = ("noto-sans", "noto-sans-bold", "noto-serif", "wqy-microhei", "wqy-zenhei", "arphic-kai")
HANDWRITING = "arphic-kai"
UNSEEN = "arphic-ming"
"""The face that no training picture is drawn with: evaluation reports it beside the others."""

ROOT = Path("/usr/share/fonts")


@cache
def load(name: str, size_px: int) -> ImageFont.FreeTypeFont:
    """The named face at a pixel size. Raises FileNotFoundError with what to install."""
    file, index = FACES[name]
    path = ROOT / file
    if not path.exists():
        raise FileNotFoundError(f"font {name} not found at {path}: {INSTALL_HINT}")
    return ImageFont.truetype(str(path), size_px, index=index)


def fitting(name: str, size_px: int, text: str, room_px: float, least_px: int = 15) -> ImageFont.FreeTypeFont:
    """The face at the size asked for, or smaller (not under ``least_px``) where the text would not fit."""
    while size_px > least_px and load(name, size_px).getlength(text) > room_px:
        size_px -= 1
    return load(name, size_px)


def missing() -> list[str]:
    """Names of faces that are not installed."""
    return [name for name, (file, _) in FACES.items() if not (ROOT / file).exists()]
