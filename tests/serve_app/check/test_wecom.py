"""The check of ``args.wecom``: every level by name, secrets in the file, the environment of the replicas."""

import re

import pytest
import yaml

from benchmarks.wecom_guide import GUIDE, commands_of, config_of
from serve_app.check import check, resolved
from serve_app.check.world import ThisMachine
from serve_app.settings import ROOT

KEY = "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C"
APP = {
    "corp_id": "wx5823bf96d3bd56c7",
    "agent_id": 218,
    "secret": "${DESK_SECRET}",
    "token": "${DESK_TOKEN}",
    "encoding_aes_key": "${DESK_KEY}",
}
ROBOT = {"url": "https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=${OPS_KEY}"}
SET = {"DESK_SECRET": "s" * 43, "DESK_TOKEN": "QDG6eK", "DESK_KEY": KEY, "OPS_KEY": "693a91f6-7aaa"}


class Machine(ThisMachine):
    """This machine with another environment."""

    def __init__(self, environment):
        self.environment = environment


def config(wecom, store=None):
    """The repository's own with the section, for a service that has a public name."""
    whole = yaml.safe_load((ROOT / "serve_config.yaml").read_text())
    application = whole["applications"][0]
    application["args"]["wecom"] = wecom
    application["args"] |= {"store": store} if store else {}
    application["deployments"][0]["user_config"]["allowed_hosts"] = ["bot.example.com"]
    return yaml.safe_dump(whole, allow_unicode=True, sort_keys=False)


def told(wecom, environment=SET, store=None):
    problems = check(config(wecom, store), Machine(environment=environment))
    return "\n".join(str(problem) for problem in problems)


def test_a_section_whose_variables_are_set_is_fine():
    assert told({"apps": {"desk": APP}, "robots": {"ops": ROBOT}}) == ""


MISSPELT = {
    "a section": ({"app": {"desk": APP}}, r"args\.wecom: unknown key 'app' \(did you mean 'apps'\?\)"),
    "a field": (
        {"apps": {"desk": APP | {"agentid": 1}}},
        r"args\.wecom\.apps\.desk: unknown key 'agentid' \(did you mean 'agent_id'\?\)",
    ),
    "a text": (
        {"texts": {"greetings": "您好"}},
        r"args\.wecom\.texts: unknown key 'greetings' \(did you mean 'greeting'\?\)",
    ),
    "a limit": ({"limits": {"lease": 5}}, r"args\.wecom\.limits: unknown key 'lease' \(did you mean 'lease_s'\?\)"),
    "media": (
        {"endpoints": {"media": {"timeout": 5}}},
        r"endpoints\.media: unknown key 'timeout' \(did you mean 'timeout_s'\?\)",
    ),
    "a robot": (
        {"apps": {"desk": APP | {"fallback_robot": "opz"}}, "robots": {"ops": ROBOT}},
        r"apps\.desk names the robot 'opz'",
    ),
    "a missing key": (
        {"apps": {"desk": {k: v for k, v in APP.items() if k != "token"}}},
        r"args\.wecom\.apps\.desk: missing key 'token'",
    ),
}


@pytest.mark.parametrize(("wecom", "message"), MISSPELT.values(), ids=MISSPELT)
def test_what_is_misspelt_is_named_with_its_line_and_what_was_meant(wecom, message):
    found = told(wecom)
    assert re.search(rf"line \d+: .*{message}", found), found


def test_a_secret_in_the_file_is_warned_of_and_never_told():
    found = told({"apps": {"desk": APP | {"token": "QDG6eK", "encoding_aes_key": KEY[:-1]}}})
    assert re.search(r"desk\.token: warning: stands in the file", told({"apps": {"desk": APP | {"token": "QDG6eK"}}}))
    assert "43 characters, this one 42" in found
    assert KEY[:-1] not in found


def test_a_secret_in_the_file_is_not_printed_among_the_settings():
    shown = yaml.safe_dump(resolved(config({"apps": {"desk": APP | {"encoding_aes_key": KEY}}})))
    assert KEY not in shown
    assert "corp_id: wx5823bf96d3bd56c7" in shown
    assert "pair_window_s: 8.0" in shown


def test_a_variable_that_is_not_set_is_warned_of_at_its_field():
    found = told({"apps": {"desk": APP}}, {name: value for name, value in SET.items() if name != "DESK_KEY"})
    assert re.fullmatch(
        r"line \d+: \S+\.wecom\.apps\.desk\.encoding_aes_key: warning: \$\{DESK_KEY\} is not set here: .*", found
    )


def test_what_the_environment_holds_is_judged():
    found = told({"apps": {"desk": APP}}, SET | {"DESK_KEY": "HUSHHUSH"})
    assert re.search(r"desk\.encoding_aes_key: as the environment has it: .*43 characters, this one 8", found)
    assert "HUSH" not in found


def test_a_service_that_wecom_cannot_call_by_name_is_told():
    text = config({"apps": {"desk": APP}}).replace("- bot.example.com", "")
    found = "\n".join(
        str(problem)
        for problem in check(text.replace("allowed_hosts:\n", "allowed_hosts: []\n", 1), Machine(environment=SET))
    )
    assert "put that name into the Ingress's allowed_hosts" in found


def test_a_long_connection_needs_no_public_name_and_its_secret_is_no_less_secret():
    line = {"bot_id": "aibExample", "secret": "${DESK_SECRET}"}
    text = config({"sockets": {"line": line}}).replace("- bot.example.com", "")
    text = text.replace("allowed_hosts:\n", "allowed_hosts: []\n", 1)
    assert check(text, Machine(environment=SET)) == []
    assert "sockets.line.secret: warning: stands in the file" in told(
        {"sockets": {"line": line | {"secret": "s" * 43}}}
    )


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://host/db", "must start with sqlite:/// or postgresql://"),
        ("postgresql://bot:hush@db/bot", "its password stands in the file"),
    ],
)
def test_the_store_is_a_file_or_a_postgresql_whose_password_is_elsewhere(url, message):
    found = told({}, store={"url": url})
    assert message in found
    assert "hush" not in found


def test_variables_are_taken_in_the_store_s_address():
    assert told({}, store={"url": "postgresql://bot:${DB_PASSWORD}@db/bot"}, environment={"DB_PASSWORD": "x"}) == ""


def test_the_section_of_the_guide_is_fine_as_it_stands_there():
    assert check(config_of(GUIDE.read_text()), Machine(environment={})) == []
    assert [command.format("x.yaml") for command in commands_of(GUIDE.read_text())] == [
        "make serve CONFIG=x.yaml",
        "python -m serve_app wecom-sim x.yaml",
    ]
