"""The free Chinese fonts that the demo draws with, found where Debian's packages put them."""

from functools import cache
from pathlib import Path

from PIL import ImageFont

INSTALL_HINT = (
    "run scripts/install_system_packages.sh, or install fonts-noto-cjk, fonts-wqy-microhei and fonts-wqy-zenhei"
)

# name -> (file, face in the collection); in Noto's collections face 2 is Simplified Chinese.
FACES: dict[str, tuple[str, int]] = {
    "noto-sans": ("opentype/noto/NotoSansCJK-Regular.ttc", 2),
    "noto-sans-bold": ("opentype/noto/NotoSansCJK-Bold.ttc", 2),
    "wqy-microhei": ("truetype/wqy/wqy-microhei.ttc", 0),
    "wqy-zenhei": ("truetype/wqy/wqy-zenhei.ttc", 0),
}
ROOT = Path("/usr/share/fonts")


@cache
def load(name: str, size_px: int) -> ImageFont.FreeTypeFont:
    """The named face at a pixel size. Raises FileNotFoundError with what to install."""
    file, index = FACES[name]
    path = ROOT / file
    if not path.exists():
        raise FileNotFoundError(f"font {name} not found at {path}: {INSTALL_HINT}")
    return ImageFont.truetype(str(path), size_px, index=index)


def missing() -> list[str]:
    """Names of faces that are not installed."""
    return [name for name, (file, _) in FACES.items() if not (ROOT / file).exists()]
