"""Chromium as the referee of the table of odd files: each is shown there as its row says."""

import base64
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from tests.deployments.preprocess import odd_files
from tests.deployments.preprocess.odd_files import ODD_FILES
from tests.deployments.preprocess.test_odd_files import close

pytestmark = pytest.mark.browser

FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
SHOWN = """async (file) => {
    const bytes = Uint8Array.from(atob(file), c => c.charCodeAt(0)), image = new Image();
    image.src = URL.createObjectURL(new Blob([bytes]));
    const loaded = await new Promise(done => { image.onload = () => done(true); image.onerror = () => done(false); });
    if (!loaded || !image.naturalWidth) return null;
    const canvas = document.createElement("canvas"), paint = canvas.getContext("2d");
    [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
    paint.fillStyle = "white";
    paint.fillRect(0, 0, canvas.width, canvas.height);
    paint.drawImage(image, 0, 0);
    return canvas.toDataURL("image/png");
}"""


@pytest.fixture(scope="module")
def page(chromium):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser.new_page()
        browser.close()


def shown(page, data):
    """What it paints, or None."""
    url = page.evaluate(SHOWN, base64.b64encode(data).decode())
    return None if url is None else np.asarray(Image.open(BytesIO(base64.b64decode(url.split(",")[1]))).convert("RGB"))


@pytest.mark.parametrize("odd", ODD_FILES, ids=[odd.name for odd in ODD_FILES])
def test_it_is_shown_as_its_row_says(page, odd):
    found, picture = shown(page, odd.data), odd_files.pixels()
    if odd.browser == "none":
        assert found is None
    elif odd.browser == "whole":
        assert close(found, np.rot90(picture, -1) if odd.turned else picture)
    else:
        assert found is not None
        assert not close(found, picture)
