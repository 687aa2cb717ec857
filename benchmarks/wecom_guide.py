"""The guide's first section as a newcomer follows it, timed: service and simulator up, a picture answered on the page.

``python -m benchmarks.wecom_guide [--screenshot FILE] [--serve COMMAND]`` takes config and commands from docs/wecom.md,
drops a sample into the simulator's page in a real browser, and asks about it. Exits 1 when it took over two minutes.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[1]
GUIDE = ROOT / "docs" / "wecom.md"
SAMPLE, QUESTION = ROOT / "demo" / "samples" / "order-2.png", "订单号是多少？"
MOST_S = 120.0
PAGE = "http://127.0.0.1:8700/"
ANSWER = ".row:not(.me) .text:not(.unfinished)"


def config_of(guide: str) -> str:
    """A copy of serve_config.yaml with the guide's section under its args."""
    found = re.search(r"```yaml\n(wecom:\n.*?)```", guide, re.DOTALL)
    assert found, "the guide shows a section to copy"
    config = yaml.safe_load((ROOT / "serve_config.yaml").read_text())
    config["applications"][0]["args"] |= yaml.safe_load(found[1])
    return yaml.safe_dump(config, allow_unicode=True, sort_keys=False)


def commands_of(guide: str) -> tuple[str, str]:
    """How the guide starts the service, and the simulator."""
    serve = re.search(r"`(make serve CONFIG=)that-file`", guide)
    simulate = re.search(r"`(python -m serve_app wecom-sim )that-file`", guide)
    assert serve, "the guide serves"
    assert simulate, "the guide simulates"
    return f"{serve[1]}{{}}", f"{simulate[1]}{{}}"


@contextmanager
def running(command: str, log: Path) -> Iterator[None]:
    """The command in the background; ended as by Ctrl-C."""
    with log.open("w") as out:
        process = subprocess.Popen(["bash", "-c", command], cwd=ROOT, stdout=out, stderr=out, start_new_session=True)
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def answered(surface: str, screenshot: Path | None) -> str:
    """The answer that the page shows to a dropped picture with a question."""
    browser_path = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 900, "height": 700})
        page.goto(PAGE)
        page.select_option("#surface", surface)
        page.set_input_files("#file", SAMPLE)
        page.fill("#text", QUESTION)
        page.wait_for_selector("#picture:not([hidden])")
        page.click("button[type=submit]")
        page.wait_for_selector(ANSWER, timeout=1000 * MOST_S)
        text = page.locator(ANSWER).first.inner_text()
        if screenshot is not None:
            page.screenshot(path=screenshot)
        browser.close()
        return text


def wait_for(command: str, give_up: float) -> None:
    while subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, check=False).returncode:
        assert time.monotonic() < give_up, f"{command} never succeeded"
        time.sleep(0.5)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--screenshot", type=Path)
    parser.add_argument("--surface", default="bot/shop")
    parser.add_argument("--serve", help="instead of the guide's command; {} is the config")
    options = parser.parse_args()
    serve, simulate = commands_of(GUIDE.read_text())
    with tempfile.TemporaryDirectory(prefix="tuwen-guide-") as folder:
        config = Path(folder) / "wecom.yaml"
        config.write_text(config_of(GUIDE.read_text()))
        began = time.monotonic()
        logs = Path(folder) / "serve.log", Path(folder) / "sim.log"
        with running((options.serve or serve).format(config), logs[0]), running(simulate.format(config), logs[1]):
            try:
                wait_for("python -m serve_app wait", began + 2 * MOST_S)
                wait_for(f"curl -sf --noproxy '*' {PAGE}", began + 2 * MOST_S)
                up_s = time.monotonic() - began
                text = answered(options.surface, options.screenshot)
            except Exception:
                print("\n".join(log.read_text()[-2000:] for log in logs), file=sys.stderr)
                raise
            took_s = time.monotonic() - began
    print(f"up after {up_s:.0f} s, answered after {took_s:.0f} s: {text}")
    return 0 if took_s < MOST_S else 1


if __name__ == "__main__":
    sys.exit(main())
