"""``wecom-check``: each thing that may be wrong with a surface is found in one run, and told with what to do."""

import pytest
import yaml

from benchmarks.wecom_guide import GUIDE, config_of
from serve_app.cli import main
from serve_app.exits import Exit
from serve_app.wecom_check import CannotCheck, findings, section_of, surface_of
from tests.conftest import free_port
from tests.deployments.wecom.town import BOT_KEY


async def found(town, surface, changed=None, url="", to=""):
    """The findings where the config checked differs from the service's in one surface's fields."""
    kind, _, name = surface.partition("/")
    settings, group = town.settings.model_dump(), {"app": "apps", "bot": "bots", "socket": "sockets", "robot": "robots"}
    settings[group[kind]][name] |= changed or {}
    checked = type(town.settings).model_validate(settings)
    return [one async for one in findings(checked, surface, url or town.url, to)]


def wrong(found):
    return [str(one) for one in found if one.ok is False]


@pytest.mark.parametrize("surface", ["app/desk", "bot/shop", "socket/line", "robot/ops"])
def test_what_is_right_is_told_and_nobody_sees_anything(play, surface):
    async def scenario(town):
        await town.eventually(lambda: town.service.platforms["socket/line"].link.connected)
        result = await found(town, surface)
        assert wrong(result) == []
        assert sum(one.ok is True for one in result) >= 2
        assert town.seen() == []
        assert town.world.counts["evictions"] == 0

    play(scenario)


WRONG = {
    "secret": ("app/desk", {"secret": "x" * 43}, "errcode 40001", "copy the app's Secret again"),
    "corp id": ("app/desk", {"corp_id": "ww1234567890abcdef"}, "errcode 40013", "CorpID"),
    "agent id": ("app/desk", {"agent_id": 7}, "errcode 301002", "copy AgentId again"),
    "token": ("app/desk", {"token": "other"}, "answers with 401", "another token"),
    "key": (
        "bot/shop",
        {"encoding_aes_key": "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C"},
        "answers with 400",
        "encoding_aes_key",
    ),
    "robot": (
        "robot/ops",
        {"url": "http://127.0.0.1:{port}/cgi-bin/webhook/send?key=00000000-aaaa"},
        "errcode 93000",
        "Webhook",
    ),
}


@pytest.mark.parametrize(("surface", "changed", "code", "advice"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_told_with_what_to_do(play, surface, changed, code, advice):
    async def scenario(town):
        port = town.settings.endpoints.qyapi.rpartition(":")[2]
        change = {
            name: value.replace("{port}", port) if isinstance(value, str) else value for name, value in changed.items()
        }
        told = " ".join(wrong(await found(town, surface, change)))
        assert code in told
        assert advice in told
        assert not any(
            str(value) in told
            for value in change.values()
            if isinstance(value, str) and "http" not in value and len(value) > 20
        )

    play(scenario)


def test_an_address_that_is_not_trusted_is_told_for_the_operator_to_paste(play):
    async def scenario(town):
        told = wrong(await found(town, "app/desk"))
        assert any("203.0.113.7" in line and "企业可信IP" in line for line in told)

    play(scenario, modes={"untrusted-address"})


def test_a_service_that_does_not_run_is_told_and_a_socket_is_tried_by_itself(play):
    async def scenario(town):
        nobody = f"http://127.0.0.1:{free_port()}"
        assert any("start the service" in line for line in wrong(await found(town, "bot/shop", url=nobody)))
        assert wrong(await found(town, "socket/line", url=nobody)) == []
        told = wrong(await found(town, "socket/line", {"secret": "w" * 43}, nobody))
        assert len(told) == 1
        assert "853000" in told[0]

    play(scenario, start=False)


def test_a_test_message_arrives_where_it_is_asked_for_and_an_unlicensed_user_is_told(play):
    async def scenario(town):
        assert wrong(await found(town, "app/desk", to="zhangsan")) == []
        assert len(town.texts(chat="zhangsan")) == 1
        town.world.unlicensed.add("lisi")
        assert any("unlicenseduser" in line for line in wrong(await found(town, "app/desk", to="lisi")))

    play(scenario, modes={"unlicensed-user"})


def test_a_name_is_found_without_its_kind_and_one_that_is_none_is_told_with_those_there_are():
    one = {"token": "abc", "encoding_aes_key": BOT_KEY}
    config = yaml.safe_dump({"applications": [{"args": {"wecom": {"bots": {"shop": one}}}}]})
    settings = section_of(config, {})
    assert surface_of(settings, "shop")[0] == surface_of(settings, "bot/shop")[0] == "bot/shop"
    with pytest.raises(CannotCheck, match="name one of bot/shop"):
        surface_of(settings, "shpo")
    with pytest.raises(CannotCheck, match=r"no args\.wecom"):
        section_of("applications: [{args: {}}]", {})
    assert one["token"] == settings.bots["shop"].token.get_secret_value()


def test_the_command_tells_what_is_wrong_a_line_each_and_exits_1(tmp_path, capsys):
    config = tmp_path / "wecom.yaml"
    nobody = f"http://127.0.0.1:{free_port()}"
    config.write_text(config_of(GUIDE.read_text()).replace("http://127.0.0.1:8700", nobody))
    assert main(["wecom-check", str(config), "desk", "--url", nobody]) == Exit.REFUSED
    out, err = capsys.readouterr()
    assert [line[:4] for line in out.splitlines()] == ["ok  ", "FAIL", "FAIL"]
    assert "app/desk: 2 of what was looked at are wrong" in err
    assert main(["wecom-check", str(config), "dsek", "--url", nobody]) == Exit.REFUSED
    assert "name one of app/desk, bot/shop, socket/line" in capsys.readouterr().err
