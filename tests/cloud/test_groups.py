from __future__ import annotations

import numpy as np
import pytest

from cloud.groups import AssetRows, Group, group_assets, join_excerpts, model_id, shards
from cloud.policy import RetrainPolicy, Trained
from tests.cloud.coupled import CHANNELS, coupled_rows, excerpt

AB, C = ("a", "b"), ("c",)
POLICY = RetrainPolicy(min_rows=100, interval_s=60, ready_share=0.5)


def test_assets_with_the_same_channels_in_any_order_are_one_group() -> None:
    found = [
        AssetRows("p1", ("b", "a"), 10),
        AssetRows("p2", ("a",), 5),
        AssetRows("p2", ("a", "b"), 7),
        AssetRows("q", ("c",), 1),
    ]
    assert group_assets(found) == [Group(AB, {"p1": 10, "p2": 12}), Group(C, {"q": 1})]


def test_the_name_of_a_model_depends_on_its_channels_alone() -> None:
    assert model_id(AB) == model_id(["a", "b"]) == "subpca-" + model_id(AB)[7:]
    assert len({model_id(AB), model_id(C), model_id(AB, shard=1), model_id(("ab",))}) == 4


def test_large_groups_are_cut_into_files() -> None:
    cut = shards(Group(AB, {f"p{index:05}": 1 for index in range(10_000)}))
    assert len(cut) == 2
    assert [*cut[0], *cut[1]] == [f"p{index:05}" for index in range(10_000)]


def test_overlapping_excerpts_give_each_row_once_and_gaps_cut() -> None:
    values = coupled_rows(0, 100)
    parts = [
        excerpt(2, values[30:60], first=30),
        excerpt(1, values[:40]),
        excerpt(3, values[60:], first=100),
    ]
    history = join_excerpts("pump-0", channels=CHANNELS, excerpts=parts)
    assert [segment.shape[0] for segment in history.segments] == [60, 40]
    assert np.array_equal(np.concatenate(history.segments), values)


def test_a_channel_that_came_later_is_missing_before() -> None:
    block = excerpt(1, coupled_rows(0, 10))
    history = join_excerpts("pump-0", channels=(*CHANNELS, "zeta"), excerpts=[block])
    assert np.isnan(history.segments[0][:, 3]).all()


@pytest.mark.parametrize(
    ("rows", "last", "now_s", "is_due"),
    [
        ({"p": 99}, None, 0, False),
        ({"p": 100, "q": 1}, None, 0, True),
        ({"p": 100, "q": 1, "r": 1}, None, 0, False),
        ({"p": 200}, Trained(200, 0), 1000, False),
        ({"p": 201}, Trained(200, 0), 59, False),
        ({"p": 201}, Trained(200, 0), 60, True),
    ],
)
def test_a_group_is_due_when_it_is_ready_has_new_rows_and_waited(
    rows: dict[str, int], last: Trained | None, now_s: float, *, is_due: bool
) -> None:
    group = Group(AB, rows)
    trained = {} if last is None else {AB: last}
    assert POLICY.due([group], trained=trained, now_s=now_s) == [group] * is_due
