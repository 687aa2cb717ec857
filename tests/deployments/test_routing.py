"""Questions about one picture go to one replica, as long as that is not much busier than another."""

import asyncio
import time
from collections import Counter
from pathlib import Path

import pytest
from ray import serve
from ray.serve.config import RequestRouterConfig

from deployments.routing import PASSED_OVER_S, SLACK, Hanging, PictureRouter, home, is_much_busier

REPLICAS = [f"replica{n}" for n in range(5)]
PICTURES = [f"picture{n}" for n in range(1000)]


def test_pictures_spread_evenly_over_the_replicas():
    homes = Counter(home(picture, REPLICAS) for picture in PICTURES)
    assert min(homes.values()) > 150


def test_only_the_pictures_of_a_replica_that_goes_move():
    for picture in PICTURES:
        before = home(picture, REPLICAS)
        if before != REPLICAS[2]:
            assert home(picture, [r for r in REPLICAS if r != REPLICAS[2]]) == before


@pytest.mark.parametrize(("own", "least", "busier"), [(0, 0, False), (SLACK, 0, False), (SLACK + 1, 0, True)])
def test_a_home_is_passed_over_when_it_has_that_much_more_to_do(own, least, busier):
    assert is_much_busier("a", {"a": own, "b": least}) == busier


def test_a_replica_that_hangs_is_passed_over_for_a_while_unless_there_is_no_other():
    now = [0.0]
    hanging = Hanging(lambda: now[0])
    hanging.add("b")
    assert hanging.without(["a", "b"], str) == ["a"]
    assert hanging.without(["b"], str) == ["b"]
    now[0] = PASSED_OVER_S
    assert hanging.without(["a", "b"], str) == ["a", "b"]


class Waits:
    """Says who it is: at once, or after making the file ``held`` and waiting until that is gone."""

    async def __call__(self, held: Path | None = None):
        if held:
            held.touch()
            while held.exists():
                await asyncio.sleep(0.01)
        return serve.get_replica_context().replica_id.unique_id


@pytest.mark.serve
def test_on_real_replicas_a_picture_stays_at_home_until_that_is_busy(live, tmp_path):
    waits = serve.deployment(
        num_replicas=2,
        max_ongoing_requests=SLACK + 4,
        ray_actor_options={"num_cpus": 0.1},
        request_router_config=RequestRouterConfig(request_router_class=PictureRouter),
    )(Waits)
    handle = serve.run(waits.bind(), name="routing", route_prefix=None)
    try:
        went = {picture: Counter() for picture in PICTURES[:12]}
        for _ in range(3):
            for picture, replicas in went.items():
                replicas[handle.options(session_id=picture).remote().result(timeout_s=60)] += 1
        homes = {picture: replicas.most_common(1)[0][0] for picture, replicas in went.items()}
        assert len(set(homes.values())) == 2
        at_home = sum(max(replicas.values()) for replicas in went.values())
        assert at_home >= 34  # of 36: a replica that is slow to tell its queue is passed over

        busy = handle.options(session_id=PICTURES[0])
        files = [tmp_path / str(n) for n in range(SLACK + 1)]
        held = []
        for file in files:  # one at a time: one on its way counts, wherever it ends
            held.append(busy.remote(file))
            while not file.exists():
                time.sleep(0.01)
        answering = {busy.remote().result(timeout_s=60) for _ in range(50)}
        assert answering - {homes[PICTURES[0]]}
        for file in files:
            file.unlink()
        assert {response.result(timeout_s=60) for response in held} == {homes[PICTURES[0]]}
    finally:
        serve.delete("routing")
