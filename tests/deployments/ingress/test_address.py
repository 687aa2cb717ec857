"""Where the console's last line says that the page is."""

import pytest

from deployments.ingress.deployment import page_address

ADDRESSES = [
    ({"host": "127.0.0.1", "port": 8000}, "/", "http://127.0.0.1:8000/"),
    ({"host": "127.0.0.1", "port": 8000}, "/tuwen", "http://127.0.0.1:8000/tuwen/"),
    ({"host": "0.0.0.0", "port": 80}, None, "http://127.0.0.1:80/"),
    ({"host": "::", "port": 8000}, "/", "http://[::1]:8000/"),
    ({"host": "::1", "port": 8000}, "/", "http://[::1]:8000/"),
    ({"host": "tuwen.example", "port": 8443, "ssl_certfile": "/c.pem"}, "/", "https://tuwen.example:8443/"),
]


@pytest.mark.parametrize(("http_options", "prefix", "address"), ADDRESSES)
def test_the_page_s_address_is_one_that_a_browser_here_can_open(http_options, prefix, address):
    assert page_address(http_options, prefix) == address
