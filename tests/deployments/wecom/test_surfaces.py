"""Apps and AI bots from a user's message to the answer that the user sees, over real HTTP against the simulator."""

import pytest

from deployments.contract import Level
from deployments.errors import ImageBlocked, Overloaded, Unavailable
from serve_app.wecom_sim.users import Said
from tests.deployments.wecom.town import JPEG, PNG

DEFAULT = "请用中文简洁描述这张图片的核心内容。"


@pytest.mark.parametrize("surface", ["app/desk", "bot/shop", "socket/line"])
def test_a_picture_with_a_question_is_answered_once(play, surface):
    async def scenario(town):
        await town.users.say(surface, Said("u1", "订单号是多少？", (JPEG,)))
        await town.eventually(lambda: "答：订单号是多少？" in town.texts())
        await town.users.settled()
        await town.eventually(town.all_ended)
        assert town.texts(surface=surface).count("答：订单号是多少？") == 1
        assert town.world.counts["callback 200"] == sum(town.world.counts[f"callback {n}"] for n in range(200, 600))

    play(scenario)


@pytest.mark.parametrize("surface", ["app/desk", "bot/shop", "socket/line"])
@pytest.mark.parametrize("picture_first", [True, False], ids=["picture-first", "question-first"])
def test_picture_and_question_as_two_messages_are_one_question(play, surface, picture_first):
    async def scenario(town):
        said = [Said("u1", "", (PNG,)), Said("u1", "运单号？")]
        for one in said if picture_first else reversed(said):
            await town.users.say(surface, one)
        await town.eventually(lambda: "答：运单号？" in town.texts())
        await town.eventually(town.all_ended)
        await town.users.settled()
        assert town.texts().count("答：运单号？") == 1
        assert len(town.model.questions) == 1

    play(scenario)


@pytest.mark.parametrize("surface", ["app/desk", "bot/shop", "socket/line"])
def test_a_picture_alone_gets_the_default_question_and_a_later_one_refers_to_it(play, surface):
    async def scenario(town):
        await town.users.say(surface, Said("u1", "", (PNG,)))
        await town.eventually(lambda: f"答：{DEFAULT}" in town.texts())
        await town.users.say(surface, Said("u1", "什么颜色？"))
        await town.eventually(lambda: "答：什么颜色？" in town.texts())
        await town.eventually(town.all_ended)
        assert [question.text for question in town.model.questions] == [DEFAULT, "什么颜色？"]

    play(scenario)


def test_the_same_question_twice_is_two_questions_and_both_answers_are_seen(play):
    async def scenario(town):
        town.pipeline._answers._cache = None
        await town.users.say("app/desk", Said("u1", "状态？", (PNG,)))
        await town.eventually(lambda: len(town.texts()) == 1)
        await town.users.say("app/desk", Said("u1", "状态？"))
        await town.eventually(lambda: len(town.texts()) == 2)
        assert town.world.counts["duplicate dropped"] == 0
        assert {text.rstrip("\u200b") for text in town.texts()} == {"答：状态？"}

    play(scenario)


def test_in_a_group_the_bot_s_own_mention_is_taken_off_and_an_address_is_not(play):
    async def scenario(town):
        await town.users.say("bot/shop", Said("u1", "发到 a@b.cn 的单号？", (PNG,), group="wrg1"))
        await town.eventually(lambda: "答：发到 a@b.cn 的单号？" in town.texts(chat="wrg1"))

    play(scenario)


def test_a_quoted_picture_is_what_the_question_is_about(play):
    async def scenario(town):
        from serve_app.wecom_sim.cipher import key_bytes

        key = key_bytes(town.world.bots["shop"].seal.encoding_aes_key)
        quote = {"msgtype": "image", "image": {"url": town.sim.media.post(JPEG, key)}}
        await town.users.say("bot/shop", Said("u1", "这是什么？", group="wrg1", quote=quote))
        await town.eventually(lambda: "答：这是什么？" in town.texts())
        quote = {
            "msgtype": "mixed",
            "mixed": {
                "msg_item": [
                    {"msgtype": "text", "text": {"content": "上周的"}},
                    {"msgtype": "image", "image": {"url": town.sim.media.post(PNG, key)}},
                ]
            },
        }
        await town.users.say("bot/shop", Said("u2", "呢？", group="wrg1", quote=quote))
        await town.eventually(lambda: "答：上周的\n呢？" in town.texts())

    play(scenario)


def test_several_pictures_of_one_message_are_each_answered_in_one_text(play):
    async def scenario(town):
        await town.users.say("bot/shop", Said("u1", "几号？", (JPEG, PNG)))
        await town.eventually(lambda: "图1：答：几号？\n图2：答：几号？" in town.texts())

    play(scenario)


def test_events_greet_and_menus_answer(play):
    async def scenario(town):
        assert b"greeting" not in (await town.users.event("bot/shop", "u1", "enter_chat") or b"")
        assert town.texts()[-1].startswith("您好")
        await town.users.event("app/desk", "u1", "subscribe")
        await town.users.event("app/desk", "u1", "click", "HOURS")
        await town.users.event("app/desk", "u1", "unknown_event_of_next_year")
        await town.users.say("app/desk", Said("u2", "帮助"))
        await town.users.say("app/desk", Said("u3", "在吗"))
        await town.eventually(lambda: len(town.texts(surface="app/desk")) == 4)
        texts = town.texts(surface="app/desk")
        assert "九点到十八点" in texts
        assert any(text.startswith("请先发送") for text in texts)
        assert town.world.counts["retries"] == 0

    play(scenario)


@pytest.mark.parametrize("surface", ["app/desk", "bot/shop", "socket/line"])
def test_while_the_service_holds_the_holding_text_comes_at_once_and_the_answer_follows(play, surface):
    async def scenario(town):
        town.model.faults += [Overloaded("full", 0.5)] * 2
        await town.users.say(surface, Said("u1", "何时发货？", (JPEG,)))
        await town.eventually(lambda: any("正在为您查询" in one.text for one in town.seen()))
        await town.eventually(lambda: "答：何时发货？" in town.texts())
        await town.eventually(town.all_ended)
        texts = [one.text for one in town.seen(surface=surface)]
        assert texts == ["正在为您查询，请稍候", "答：何时发货？"]

    play(scenario)


@pytest.mark.parametrize("surface", ["app/desk", "bot/shop", "socket/line"])
def test_what_fails_for_good_is_told_with_its_reason(play, surface):
    async def scenario(town):
        town.preprocessor.faults.append(ImageBlocked("no"))
        await town.users.say(surface, Said("u1", "这是什么？", (JPEG,)))
        await town.eventually(lambda: town.texts() == ["图片分析失败，请重试。（图片未通过安全检查，请换一张图片）"])
        await town.eventually(town.all_ended)

    play(scenario)


def test_what_may_pass_is_tried_again(play):
    async def scenario(town):
        town.model.faults += [Unavailable("away")] * 2  # the pipeline itself tries twice
        await town.users.say("app/desk", Said("u1", "这是什么？", (JPEG,)))
        await town.eventually(lambda: town.texts() == ["答：这是什么？"])

    play(scenario)


@pytest.mark.parametrize("mode", ["lost-acknowledgement", "lost-first-reply"])
@pytest.mark.parametrize("surface", ["app/desk", "bot/shop"])
def test_a_callback_that_comes_again_is_the_same_message(play, surface, mode):
    async def scenario(town):
        await town.users.say(surface, Said("u1", "几件？", (JPEG,)))
        await town.eventually(lambda: "答：几件？" in town.texts())
        await town.users.settled()
        await town.eventually(town.all_ended)
        assert town.texts().count("答：几件？") == 1
        assert town.world.counts["retries"] >= 1
        assert sum((await town.service.inbox.counts())[surface].values()) == (2 if surface.startswith("app") else 1)

    play(scenario, modes={mode})


@pytest.mark.parametrize("surface", ["app/desk", "bot/shop", "socket/line"])
def test_a_picture_that_has_expired_is_told_in_plain_words(play, surface):
    async def scenario(town):
        await town.users.say(surface, Said("u1", "几件？", (JPEG,)))
        await town.eventually(lambda: any("请重新发送图片" in text for text in town.texts()), 30)
        await town.eventually(town.all_ended)

    play(scenario, modes={"picture-expired"})


def test_answers_of_a_chat_keep_the_order_of_its_questions(play):
    async def scenario(town):
        for number in range(6):
            await town.users.say(
                "app/desk", Said("u1", f"第{number}问？", ()) if number else Said("u1", "第0问？", (PNG,))
            )
        await town.eventually(lambda: len(town.texts()) == 6)
        assert town.texts() == [f"答：第{number}问？" for number in range(6)]

    play(scenario)


def test_a_long_answer_comes_in_parts_that_wecom_does_not_cut(play):
    async def scenario(town):
        town.model.says = "订单" * 3000
        await town.users.say("app/desk", Said("u1", "全部？", (PNG,)))
        await town.eventually(town.all_ended)
        assert "".join(town.texts()).replace("\u200b", "") == "订单" * 3000
        assert town.world.counts["silently cut"] == 0

    play(scenario)


def test_a_long_answer_of_a_bot_goes_on_by_its_response_address(play):
    async def scenario(town):
        town.model.says = "订单" * 4000
        await town.users.say("bot/shop", Said("u1", "全部？", (PNG,)))
        await town.eventually(town.all_ended)
        assert "".join(town.texts()) == "订单" * 4000
        assert [one.kind for one in town.seen(finished=True)] == ["stream", "message"]

    play(scenario)


def test_a_level_below_full_is_an_answer(play):
    async def scenario(town):
        town.model.says_level = Level.FAST
        await town.users.say("app/desk", Said("u1", "快？", (PNG,)))
        await town.eventually(lambda: town.texts() == ["答：快？"])

    play(scenario)
