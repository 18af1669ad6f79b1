"""The page in a browser."""

import cv2
import numpy as np
import pytest

from runtime.sinks.web.browser import CHROMIUM, Browser
from runtime.sinks.web.conftest import Camera, wait_for

pytestmark = [
    pytest.mark.timed,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt install chromium"),
]

#: Mean brightness of the picture as it is shown.
BRIGHTNESS = """(() => {
  const image = document.getElementById('picture'), canvas = document.createElement('canvas');
  canvas.width = 16; canvas.height = 16;
  canvas.getContext('2d').drawImage(image, 0, 0, 16, 16);
  return canvas.getContext('2d').getImageData(0, 0, 16, 16).data.reduce((a, b) => a + b, 0) / 1024;
})()"""
SHOWN = "document.getElementById('picture').naturalWidth === 160"
TEXT = "document.getElementById('{}').textContent"


def element(name: str) -> str:
    return f"document.getElementById('{name}')"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


def test_the_page_shows_the_run_and_moves_it(serve, browser):
    served = serve({"front": Camera(), "rear": Camera()}, "fps=30&token=right-token-1")
    browser.size(1280, 800)
    browser.open(served.sink.url)
    browser.wait(SHOWN)
    assert "token" not in browser.evaluate("location.href")

    # The picture moves.
    seen: set[int] = set()
    wait_for(lambda: seen.add(round(browser.evaluate(BRIGHTNESS))) or len(seen) > 5)
    browser.wait(f"{TEXT.format('health')} === 'live' && Number({TEXT.format('fps')}) > 1")

    # The slider changes the level that results report.
    browser.evaluate(
        f"{element('slider')}.value = 0.5; {element('slider')}.dispatchEvent(new Event('input', {{bubbles: true}}))"
    )
    wait_for(lambda: served.results[-1].keep == (12, 3, 3))
    browser.wait(f"{TEXT.format('pruned')} === '50%'")
    served.session.level = 0.75  # and the page follows the session
    browser.wait(f"{element('slider')}.value === '0.75' && {TEXT.format('pruned')} === '75%'")

    # Windows are computed while they are looked at.
    browser.evaluate(f"{element('windows')}.click()")
    wait_for(lambda: served.results[-1].activity is not None)
    browser.evaluate(f"{element('windows')}.click()")
    wait_for(lambda: served.session.activity is False)

    # Tabs, and what there is nothing of.
    browser.evaluate("document.querySelectorAll('#tabs button')[1].click()")
    browser.wait(f"{TEXT.format('detailsname')} === 'rear'")
    browser.wait(SHOWN)
    assert browser.evaluate(f"{element('governor')}.hidden && {element('record')}.hidden")
    assert "camera=rear" in browser.evaluate(f"{element('snapshot')}.href")

    # Paused, nobody looks, and the last picture stays.
    browser.evaluate(f"{element('pause')}.click()")
    wait_for(lambda: served.ask("/metrics?token=right-token-1")[2].count(b"sparsevit_viewers 1.0"))
    assert browser.evaluate(BRIGHTNESS) > 0
    assert browser.complaints == []


@pytest.mark.parametrize(("width", "height", "phone"), [(390, 844, True), (1280, 800, False)])
@pytest.mark.parametrize("dark", [False, True])
def test_the_page_fits_phones_and_desktops_by_day_and_by_night(serve, browser, width, height, phone, dark):
    served = serve(query="fps=10")
    browser.size(width, height, phone=phone, dark=dark)
    browser.open(served.sink.url)
    browser.wait(SHOWN)
    browser.wait(f"Number({TEXT.format('fps')}) > 1")
    assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth")
    small = browser.evaluate(
        "[...document.querySelectorAll('button, .button')].filter(b => b.offsetHeight && b.offsetHeight < 40).length"
    )
    assert small == 0
    screen = cv2.imdecode(np.frombuffer(browser.screenshot(), np.uint8), cv2.IMREAD_COLOR)
    assert screen.shape == (height, width, 3)
    corner = screen[-3:, :3].mean()
    assert corner < 60 if dark else corner > 200
    picture = browser.evaluate(
        f"(r => [r.left, r.top, r.right, r.bottom])({element('picture')}.getBoundingClientRect())"
    )
    left, top, right, bottom = (round(value) for value in picture)
    assert right - left > width * 0.6 and top < height / 4
    assert screen[top : min(bottom, height), left:right].std() > 20


def test_a_page_without_a_server_says_so_and_comes_back_with_it(serve, browser):
    served = serve()
    browser.open(served.sink.url)
    browser.wait(f"{TEXT.format('health')} === 'live'")
    served.session.stop()
    browser.wait(f"{TEXT.format('health')} === 'ended'")
    served.sink.close()
    browser.wait(f"{TEXT.format('health')} === 'no connection'")
    assert browser.evaluate(f"{TEXT.format('note')}.includes('No connection')")


def test_a_token_can_be_typed_in(serve, browser):
    served = serve(query="token=right-token-1")
    browser.call("Network.clearBrowserCookies")
    browser.open(f"http://127.0.0.1:{served.port}/")
    browser.wait("document.querySelector('input[name=token]') !== null")
    browser.evaluate("document.querySelector('input').value = 'right-token-1'; document.forms[0].requestSubmit(); 1")
    browser.wait("document.getElementById('picture')?.naturalWidth === 160")
