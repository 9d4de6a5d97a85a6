"""Open one notebook in JupyterLab, run all its cells, and print what a person would see.

Run by test_lab.py with the Python of `.venv-browser`, which has Playwright:

    run_all_cells.py CHROMIUM URL SCREENSHOT [ANSWER]

A cell that asks is answered with ANSWER, or, without one, with what it asks to be typed.

Prints one JSON object: `cells` (code cells), `outputs` (text of each output area), `errors`
(how many outputs are tracebacks), `elsewhere` (addresses of other hosts that the page asked).
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Page, sync_playwright

QUIET = [
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-gpu",
    "--no-first-run",
]
AS_ROOT = ["--no-sandbox"] if os.geteuid() == 0 else []
# Cells that are out of sight are not in the page: the kernel's state says when all are done.
DONE = r"""() => {
    const prompts = [...document.querySelectorAll('.jp-CodeCell .jp-InputArea-prompt')];
    const texts = prompts.map(prompt => prompt.innerText);
    return texts.some(text => /\[\d+\]/.test(text)) && !texts.some(text => text.includes('*'))
        && document.querySelector('#jp-main-statusbar').innerText.includes('| Idle');
}"""
ASKS = "() => document.querySelector('.jp-Stdin-input') !== null"


def run_all(page: Page, url: str, answer: str) -> dict[str, object]:
    page.goto(url)
    page.wait_for_selector(".jp-NotebookPanel .jp-CodeCell", timeout=60_000)
    page.get_by_text("| Idle").wait_for(
        timeout=60_000
    )  # sooner, a click asks which kernel to start
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
    page.wait_for_function(f"() => ({DONE})() || ({ASKS})()", timeout=60_000)
    asked = page.locator(".jp-Stdin-prompt").all_inner_texts()
    if asked:
        wanted = re.search(r"type (\w+)", asked[0])
        page.locator(".jp-Stdin-input").fill(answer or (wanted[1] if wanted else ""))
        page.keyboard.press("Enter")
        page.wait_for_timeout(300)  # until the kernel has the answer
        page.wait_for_function(DONE, timeout=60_000)
    page.wait_for_timeout(500)  # the last output is drawn after its prompt is numbered
    return {
        "asked": asked,
        "cells": page.locator(".jp-CodeCell").count(),
        "outputs": page.locator(".jp-OutputArea-output").all_inner_texts(),
        "errors": page.locator("[data-mime-type='application/vnd.jupyter.error']").count(),
    }


def main(chromium: str, url: str, screenshot: str, answer: str = "") -> None:
    elsewhere: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium,
            args=QUIET + AS_ROOT,
            # Chromium leaves crash reports in the settings folder: not in this person's
            env=os.environ | {"XDG_CONFIG_HOME": str(Path(screenshot).parent)},
        )
        page = browser.new_page(viewport={"width": 1300, "height": 1000})
        page.on("request", lambda request: elsewhere.append(request.url))
        try:
            seen = run_all(page, url, answer)
        finally:
            page.screenshot(path=screenshot)
        browser.close()
    local = ("127.0.0.1", None)  # None: data: and blob: addresses, which ask nobody
    print(
        json.dumps(
            seen | {"elsewhere": [u for u in elsewhere if urlsplit(u).hostname not in local]}
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
