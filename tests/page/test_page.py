"""The page in a real Chromium, over the session's real service: what a newcomer does first."""

import json
import re
from pathlib import Path

import pytest
from PIL import Image

pytestmark = [pytest.mark.serve, pytest.mark.browser]

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "demo" / "samples"
INDEX = json.loads((SAMPLES / "samples.json").read_text())
SCREENSHOTS = ROOT / "build" / "screenshots"
FLAGS = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip


@pytest.fixture(scope="module")
def browser(chromium):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(live, browser):
    """A fresh Chinese page on which any console error or request to another host is a failure."""
    context = browser.new_context(locale="zh-CN", viewport={"width": 1280, "height": 860})
    page = context.new_page()
    faults = []
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda r: None if r.url.startswith((live.url, "blob:", "data:")) else faults.append(r.url))
    page.goto(live.url)
    page.set_default_timeout(60_000)
    yield page
    context.close()
    expected = re.compile("Failed to load resource: the server responded with a status of 4")
    assert [fault for fault in faults if not expected.match(fault)] == []


def screenshot(page, name):
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)


def done(page):
    page.wait_for_selector("body[data-state=done]")


def test_a_sample_is_asked_about_and_the_answer_is_shown_with_how_it_came_about(page, live):
    entry = INDEX[0]
    page.click(f"#samples button[data-file='{entry['file']}']")
    page.click(f"#suggestions button:has-text('{entry['questions'][0]}')")
    done(page)
    answer = page.inner_text("#answer")
    request_id = page.inner_text("#request-id").strip()
    assert answer.strip()
    assert page.get_attribute("#level", "data-level") == "full"
    assert len(request_id) == 36
    assert "/v1/ask" in page.text_content("#curl")
    assert entry["questions"][0] in page.text_content("#curl")
    assert page.is_hidden("#error")
    record = page.request.get(f"{live.url}/v1/requests/{request_id}").json()
    assert str(record["usage"]["completion_tokens"]) in page.inner_text("#tokens")
    assert f"{record['timing_ms']['total']:,} ms" in page.inner_text("#timing")
    screenshot(page, "answer")


@pytest.mark.parametrize("family", sorted({entry["family"] for entry in INDEX}))
def test_a_sample_of_every_family_is_answered_right(page, family):
    entry = next(entry for entry in INDEX if entry["family"] == family)
    page.click(f"#samples button[data-file='{entry['file']}']")
    page.click(f"#suggestions button:has-text('{entry['questions'][1]}')")
    done(page)
    assert page.inner_text("#answer").strip() == entry["answers"][1]


def test_a_file_of_one_s_own_is_asked_about_with_the_keyboard(page):
    page.set_input_files("#file", SAMPLES / INDEX[1]["file"])
    page.focus("#question")
    page.keyboard.type(INDEX[1]["questions"][0])
    page.keyboard.press("Enter")
    done(page)
    assert page.inner_text("#answer").strip()


def test_a_picture_can_be_pasted(page):
    data = list((SAMPLES / INDEX[2]["file"]).read_bytes())
    page.evaluate(
        """bytes => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], "pasted.png", {type: "image/png"}));
            document.dispatchEvent(new ClipboardEvent("paste", {clipboardData: transfer, bubbles: true}));
        }""",
        data,
    )
    page.wait_for_selector("#preview img, img#preview")
    page.fill("#question", "提取全部文字")
    page.click("#ask")
    done(page)
    assert "\n" in page.inner_text("#answer").strip()


def test_a_large_picture_s_tiles_are_drawn_over_it(page, live, tmp_path):
    large = tmp_path / "large.png"
    sample = Image.open(SAMPLES / INDEX[0]["file"]).convert("RGB")
    sheet = Image.new("RGB", (sample.width * 4, sample.height * 4))
    for place in range(16):  # enlarged alone it would need no tiles: it would have no more detail
        sheet.paste(sample, (sample.width * (place % 4), sample.height * (place // 4)))
    sheet.save(large)
    page.set_input_files("#file", large)
    assert page.is_hidden("#tile-boxes")
    page.fill("#question", "订单号？")
    page.click("#ask")
    done(page)
    drawn, image = page.locator("#tile-boxes rect"), page.locator("#image").bounding_box()
    assert drawn.count() == int(page.inner_text("#tiles")) - 1 > 1
    boxes = [drawn.nth(number).bounding_box() for number in range(drawn.count())]
    # Together they cover the picture as it is shown.
    assert min(box["x"] for box in boxes) == pytest.approx(image["x"], abs=2)
    assert max(box["y"] + box["height"] for box in boxes) == pytest.approx(image["y"] + image["height"], abs=2)
    screenshot(page, "tiles")
    page.set_input_files("#file", SAMPLES / INDEX[1]["file"])
    page.wait_for_function("name => document.getElementById('file-name').textContent === name", arg=INDEX[1]["file"])
    assert page.is_hidden("#tile-boxes")


def test_a_server_s_refusal_is_readable(page, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes((SAMPLES / INDEX[0]["file"]).read_bytes()[:3000])
    page.set_input_files("#file", broken)
    page.fill("#question", "订单号？")
    page.click("#ask")
    page.wait_for_selector("body[data-state=error]")
    assert "image_truncated" in page.inner_text("#error")
    assert page.inner_text("#error-message") == "文件不完整或已损坏，请重新保存或下载后再上传。"
    page.click("#language")
    assert "whole file" in page.inner_text("#error-message")
    page.click("#language")
    screenshot(page, "error")


def test_it_speaks_english_too_and_fits_a_phone(page):
    page.set_viewport_size({"width": 390, "height": 844})
    page.click("#language")
    assert page.get_attribute("html", "lang") == "en"
    assert page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth")
    screenshot(page, "phone-english")


def test_it_has_a_dark_mode(page):
    light = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    page.emulate_media(color_scheme="dark")
    assert page.evaluate("() => getComputedStyle(document.body).backgroundColor") != light
    screenshot(page, "dark")


def test_the_live_panel_shows_a_burst_and_the_level_falling(page, live):
    page.goto(f"{live.url}/live")
    page.wait_for_selector("body[data-state=live]")
    assert page.get_attribute("#level", "data-level") == "full"
    page.click("#burst")
    page.wait_for_function("() => Number(document.getElementById('offered').textContent) > 10")
    page.wait_for_function("() => document.getElementById('level').dataset.level !== 'full'")
    page.wait_for_function("() => document.querySelectorAll('#charts svg [data-series]').length >= 9")
    screenshot(page, "live-burst")
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size({"width": 390, "height": 844})
    page.click("#language")
    assert page.inner_text("h1") == "Live load"
    assert page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth")
    screenshot(page, "live-phone-dark")
