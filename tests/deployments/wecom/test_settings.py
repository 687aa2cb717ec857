"""The section: checked where it stands, its secrets taken from the environment, and shown nowhere."""

import pytest
from pydantic import ValidationError

from deployments.wecom.secrets import SecretsMissing, redacted, with_secrets
from deployments.wecom.settings import WecomSettings

APP = {
    "corp_id": "wx5823bf96d3bd56c7",
    "agent_id": 218,
    "secret": "${SECRET}",
    "token": "QDG6eK",
    "encoding_aes_key": "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C",
}
ROBOT = {"url": "https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=${ROBOT_KEY}"}
SOCKET = {"bot_id": "aibExample", "secret": "${SECRET}"}
DIGEST = "a" * 64
ENVIRONMENT = {"SECRET": "s" * 43, "ROBOT_KEY": "693a91f6-7xxx-4bc4-97a0-0ec2sifa5aaa"}


def settings(**sections):
    return WecomSettings.model_validate(sections)


def test_variables_become_what_the_environment_holds_without_blanks_around_it():
    found = with_secrets(
        settings(apps={"desk": APP}, robots={"ops": ROBOT}), ENVIRONMENT | {"SECRET": " " + "s" * 43 + "\n"}
    )
    assert found.apps["desk"].secret.get_secret_value() == "s" * 43
    assert found.robots["ops"].url.get_secret_value().endswith("key=693a91f6-7xxx-4bc4-97a0-0ec2sifa5aaa")


@pytest.mark.parametrize("environment", [{}, {"SECRET": ""}, {"SECRET": " "}])
def test_a_variable_that_is_not_set_is_told_with_its_field(environment):
    with pytest.raises(SecretsMissing, match=r"args\.wecom\.apps\.desk\.secret: \$\{SECRET\} is not set"):
        with_secrets(settings(apps={"desk": APP}), environment)


def test_what_the_environment_holds_is_checked_and_not_told():
    with pytest.raises(SecretsMissing, match=r"apps\.desk\.secret.*16 to 128") as fault:
        with_secrets(settings(apps={"desk": APP}), {"SECRET": "hush hush"})
    assert "hush" not in str(fault.value)


WRONG = {
    "a key of 42": ({"apps": {"desk": APP | {"encoding_aes_key": "a" * 42}}}, "43 characters, this one 42"),
    "a token with a blank": ({"apps": {"desk": APP | {"token": "a b"}}}, "3 to 32 letters and digits"),
    "a corp id": ({"apps": {"desk": APP | {"corp_id": "1000002"}}}, "corp_id"),
    "an agent id of 0": ({"apps": {"desk": APP | {"agent_id": 0}}}, "agent_id"),
    "a robot elsewhere": (
        {"robots": {"ops": {"url": "https://example.com/hook?key=abcdefgh"}}},
        "no group robot's address",
    ),
    "a robot that is not there": (
        {"apps": {"desk": APP | {"fallback_robot": "ops"}}},
        "apps.desk names the robot 'ops'",
    ),
    "a relay to nobody": (
        {"relays": {"old": {"key_sha256": [DIGEST], "robots": ["ops"]}}},
        "relays.old names the robot",
    ),
    "a relay without a key": (
        {"robots": {"ops": ROBOT}, "relays": {"old": {"key_sha256": [], "robots": ["ops"]}}},
        "at least 1 item",
    ),
    "a name that no address has": ({"apps": {"Desk/1": APP}}, "apps"),
    "http elsewhere": ({"endpoints": {"qyapi": "http://qyapi.weixin.qq.com"}}, "this machine only"),
    "a proxy that is none": ({"endpoints": {"proxy": "proxy:3128"}}, "an HTTP proxy's address"),
    "a socket elsewhere without TLS": (
        {"endpoints": {"sockets": "ws://openws.work.weixin.qq.com"}},
        "this machine only",
    ),
    "two of one bot": ({"sockets": {"a": SOCKET, "b": SOCKET}}, "a bot has one connection"),
    "a bot id": ({"sockets": {"a": SOCKET | {"bot_id": "a b"}}}, "bot_id"),
    "an unknown key": ({"apps": {"desk": APP | {"tokn": "abc"}}}, "tokn"),
}


@pytest.mark.parametrize(("sections", "message"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_told_in_a_sentence(sections, message):
    with pytest.raises(ValidationError, match=message):
        settings(**sections)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8700", "http://localhost:8700/", "https://qyapi.weixin.qq.com"])
def test_plain_http_leads_to_this_machine(url):
    assert settings(endpoints={"qyapi": url}).endpoints.qyapi == url.rstrip("/")


@pytest.mark.parametrize("proxy", ["http://proxy.example.com:3128", "http://10.1.2.3:8080/", "https://${PROXY}:443"])
def test_a_proxy_may_be_any_host_s(proxy):
    assert settings(endpoints={"proxy": proxy}).endpoints.proxy == proxy.rstrip("/")


def test_no_secret_is_shown():
    shown = repr(with_secrets(settings(apps={"desk": APP}, robots={"ops": ROBOT}), ENVIRONMENT))
    assert not any(secret in shown for secret in ("s" * 43, "QDG6eK", APP["encoding_aes_key"], "693a91f6"))


@pytest.mark.parametrize(
    "text",
    [
        "POST https://q/cgi-bin/webhook/send?key=HUSH failed",
        "gettoken?corpid=ww1&corpsecret=HUSH",
        "send?access_token=HUSH&debug=1",
        "aibot/response?response_code=HUSH",
        "https://cos/x?sign=HUSH",
    ],
)
def test_addresses_are_logged_without_what_opens_them(text):
    assert "HUSH" not in redacted(text)
    assert "…" in redacted(text)
