"""The gateway as a user runs it, over real brokers."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import msgspec
import numpy as np
import pytest

from tests.gateway import graphs
from tests.gateway.graphs import CHANNELS, coupled_rows, joint, magnitude
from tests.gateway.running import (
    TOPICS,
    gateway,
    listening,
    publish_model,
    publish_readings,
    reading,
    site,
)
from vedette.broker import Broker, free_port, start_mosquitto
from wire.blocks import decode_summaries
from wire.codec import decode_json
from wire.contract import METADATA_KEY, write_model
from wire.messages import AlertEvent
from wire.onnxfile import append_metadata

pytestmark = pytest.mark.usefixtures("needs_mosquitto")

FAST = "[summaries]\nidle_s = 1.0\n"


def rows(count: int, *, seed: int = 0) -> list[dict[str, float | None]]:
    return [dict(zip(CHANNELS, map(float, row), strict=True)) for row in coupled_rows(seed, count)]


async def test_the_status_tells_what_came_and_what_became_of_it(
    mosquitto: Broker, tmp_path: Path
) -> None:
    with gateway(tmp_path / "gw", mosquitto.url, more=FAST) as running:
        async with listening(mosquitto.url) as heard, site(mosquitto.port) as session:
            first = await heard.until(lambda status: status.presence == "online")
            assert (first.gateway, first.epoch != "", first.assets) == ("gateway", True, 0)
            assert [model.role for model in first.models] == ["bundled"]
            await publish_readings(session, "pump-1", [{"a": 1.0, "b": None}] * 5)
            await session.publish(TOPICS.readings("pump-1"), b"{garbage")
            await session.publish(TOPICS.readings("pump-1"), reading(5, {"a": 1.0}))
            await session.publish(TOPICS.readings("pump-1"), reading(6, {"a": 1e300}))
            status = await heard.until(lambda status: status.messages.get("quarantined"))
            status = await heard.until(lambda status: status.readings["out_of_range"])
            assert status.readings == {
                "received": 12,
                "scored": 5,
                "missing": 5,
                "duplicate": 1,
                "out_of_range": 1,
                "backward": 0,
                "skipped": 0,
                "early": 0,
            }
            assert status.rejected == {"not_json": 1, "out_of_range": 1}
            assert "expected a value within" in status.last_rejection
            assert (status.assets, status.streams) == (1, 2)
            assert status.models[0].scored == 5
            assert status.models[0].assets == 1
            assert status.rss_mb > 10
            assert status.time_ms > 1.7e12
            assert running.stop() == 0
            last = await heard.until(lambda status: status.presence == "offline")
            assert last.readings == status.readings
            (block,) = [decode_summaries(one) for one in heard.on("summaries")]
            assert block.rows.count.sum() == 5
            assert block.epoch == f"{first.epoch}-bulk"


async def test_a_killed_gateway_is_seen_offline_by_its_will(
    mosquitto: Broker, tmp_path: Path
) -> None:
    with gateway(tmp_path / "gw", mosquitto.url) as running:
        async with listening(mosquitto.url) as heard:
            await heard.until(lambda status: status.presence == "online")
            running.stop(signal.SIGKILL)
            await heard.until(lambda status: status.presence == "offline")
    async with listening(mosquitto.url) as later:
        await later.until(lambda status: status.presence == "offline")
        assert later.retained == later.status


async def test_it_starts_without_a_broker_and_serves_when_one_appears(
    broker_directory: Path, tmp_path: Path
) -> None:
    port = free_port()
    with gateway(tmp_path / "gw", f"mqtt://127.0.0.1:{port}", more=FAST) as running:
        async with asyncio.timeout(20):
            while "broker of the site" not in running.log:  # noqa: ASYNC110 - a file
                await asyncio.sleep(0.01)
        with start_mosquitto(port=port, directory=broker_directory) as broker:
            async with listening(broker.url) as heard, site(port) as session:
                await heard.until(lambda status: status.presence == "online")
                held = await publish_readings(session, "pump-1", rows(10))
                await heard.until(lambda status: status.readings["scored"] == held)
            assert running.stop() == 0


async def test_nothing_is_lost_when_the_broker_restarts_in_mid_stream(
    broker_directory: Path, tmp_path: Path
) -> None:
    port = free_port()
    url = f"mqtt://127.0.0.1:{port}"
    with gateway(tmp_path / "gw", url, more=FAST):
        async with site(port) as session:
            with start_mosquitto(port=port, directory=broker_directory) as broker:
                async with listening(broker.url) as heard:
                    await heard.until(lambda status: status.presence == "online")
                    held = await publish_readings(session, "pump-1", rows(300))
                    broker.stop()
            pending = asyncio.create_task(publish_readings(session, "pump-1", rows(300), first=301))
            with start_mosquitto(port=port, directory=broker_directory):
                async with listening(url) as heard:
                    held += await pending
                    status = await heard.until(
                        lambda status: status.readings.get("scored", 0) >= held
                    )
    assert status.readings["scored"] == held
    assert status.readings["skipped"] == 0
    assert status.readings["received"] == held + status.readings["duplicate"]


async def test_bulk_goes_to_the_uplink_only_and_alerts_to_both(
    mosquitto: Broker, tmp_path: Path
) -> None:
    (tmp_path / "cloud").mkdir()
    (tmp_path / "gw" / "models").mkdir(parents=True)
    (tmp_path / "gw" / "models" / "plain.onnx").write_bytes(magnitude().data)
    with start_mosquitto(port=free_port(), directory=tmp_path / "cloud") as cloud:
        more = f'{FAST}[uplink]\nurl = "{cloud.url}"\n[excerpts]\nhistory_rows = 4\n'
        with gateway(tmp_path / "gw", mosquitto.url, more=more) as running:
            async with (
                listening(mosquitto.url) as near,
                listening(cloud.url) as far,
                site(mosquitto.port) as session,
            ):
                await near.until(lambda status: status.presence == "online")
                await far.until(lambda status: status.presence == "online")
                levels = [0.0] * 6 + [5.0] * 3 + [0.0] * 4
                await publish_readings(session, "x", [{"a": level} for level in levels])
                await far.until(lambda status: status.bytes_up.get("summaries"))
                assert running.stop() == 0
                await near.until(lambda status: status.presence == "offline")
                await far.until(lambda status: status.presence == "offline")
    assert len(near.on("alerts/x")) == 2
    assert near.on("alerts/x") == far.on("alerts/x")
    assert near.on("state/x") == far.on("state/x")
    assert near.on("summaries") == near.on("excerpts") == []
    assert far.on("summaries")
    assert len(far.on("excerpts")) == 3


def card_with_unknown_field(data: bytes) -> bytes:
    """The same graph with a card of a later version of the contract."""
    file = write_model(data, graphs.card(id="later", window=1))
    text = msgspec.json.decode(msgspec.json.encode(file.card)) | {"colour": "red"}
    return append_metadata(data, METADATA_KEY, msgspec.json.encode(text).decode())


def bare_graph() -> bytes:
    from cloud.train.draft import GraphDraft

    draft = GraphDraft("bare")
    x = draft.input("x", [1, 1])
    draft.output(draft.op("Reshape", x, draft.table("flat", np.array([-1]))), "score", [])
    return draft.to_bytes()


async def test_models_are_swapped_or_refused_while_data_flows(
    mosquitto: Broker, tmp_path: Path
) -> None:
    folder = tmp_path / "gw"
    with gateway(folder, mosquitto.url, more=FAST) as running:
        async with listening(mosquitto.url) as heard, site(mosquitto.port) as session:
            await heard.until(lambda status: status.presence == "online")
            stop = asyncio.Event()
            flow = asyncio.create_task(keep_flowing(session, stop))
            fleet = graphs.fleet(1, version=1)
            await publish_model(session, fleet.data, name="fleet", version=1, manifest=1)
            status = await heard.until(lambda status: serves(status, "fleet", 1))
            bad = [
                ("hash", bytes(graphs.bundled()), "0" * 64),
                ("truncated", bytes(graphs.fleet(1, version=3).data[:2000]), ""),
                ("shape", graphs.one_score_for_all(id="fleet", version=4).data, ""),
                ("card", card_with_unknown_field(bare_graph()), ""),
            ]
            for step, (reason, data, sha256) in enumerate(bad, 2):
                await publish_model(
                    session, data, name="fleet", version=step, manifest=step, sha256=sha256
                )
                status = await heard.until(
                    lambda status, at=step: len(status.refused_models) >= at - 1
                )
                assert f": {reason}: expected" in status.refused_models[-1], status.refused_models
                assert serves(status, "fleet", 1)
            newer = graphs.fleet(1, version=9)
            await publish_model(session, newer.data, name="fleet", version=9, manifest=9)
            await heard.until(lambda status: serves(status, "fleet", 9))
            stop.set()
            held = await flow
            status = await heard.until(lambda status: status.readings["received"] >= held)
            assert status.readings["scored"] == held
            by_model = {(model.id, model.version): model.scored for model in status.models}
            assert by_model["fleet", 9] > 0
            assert status.refused_models
            assert running.stop() == 0
    assert (folder / "models" / "fleet.onnx").read_bytes() == newer.data


def serves(status: object, name: str, version: int) -> bool:
    found = [(model.id, model.version, model.assets) for model in status.models]  # type: ignore[attr-defined]
    return (name, version, 1) in found


async def keep_flowing(session: object, stop: asyncio.Event) -> int:
    """Publish rows of asset-0 until told to stop; return how many readings they held."""
    held, seq = 0, 1
    while not stop.is_set():
        part = rows(20, seed=seq % 7)
        held += await publish_readings(session, "asset-0", part, first=seq)  # type: ignore[arg-type]
        seq += len(part)
    return held


async def test_a_model_that_fails_in_service_leaves_and_no_reading_goes_unscored(
    mosquitto: Broker, tmp_path: Path
) -> None:
    model = graphs.lookup(version=2)
    for life in (1, 2):
        with gateway(tmp_path / "gw", mosquitto.url) as running:
            async with listening(mosquitto.url) as heard, site(mosquitto.port) as session:
                await heard.until(lambda status: status.presence == "online")
                if life == 1:
                    await publish_model(session, model.data, name="lookup", version=2)
                await heard.until(lambda status: status.models[0].id == "lookup")
                values: list[dict[str, float | None]] = [{"a": 1.0}, {"a": 99.0}, {"a": 2.0}]
                await publish_readings(session, "pump-1", values, first=3 * life)
                status = await heard.until(lambda status: status.readings["scored"] == 3)
                status = await heard.until(lambda status: status.refused_models)
                assert status.models[0].id == "robust"
                assert status.refused_models[0].startswith("lookup 2: run: ")
                assert running.stop() == 0
        assert "model out of service: lookup 2: run: " in running.log


async def test_a_kept_model_serves_after_a_restart_with_no_cloud(
    mosquitto: Broker, tmp_path: Path
) -> None:
    folder = tmp_path / "gw"
    model = joint(["needed", "by-nobody"], version=3)
    with gateway(folder, mosquitto.url) as running:
        async with listening(mosquitto.url) as heard, site(mosquitto.port) as session:
            await heard.until(lambda status: status.presence == "online")
            await publish_model(session, model.data, name="joint", version=3)
            await heard.until(lambda status: len(status.models) == 2)
            await session.publish(TOPICS.meta("targets"), b"", retain=True)
            assert running.stop() == 0
    with gateway(folder, mosquitto.url, more=FAST) as running:
        async with listening(mosquitto.url) as heard, site(mosquitto.port) as session:
            status = await heard.until(
                lambda status: status.presence == "online" and len(status.models) == 2
            )
            assert (status.models[1].id, status.models[1].version) == ("joint", 3)
            held = await publish_readings(session, "pump-1", [{"needed": 1.0, "other": 2.0}] * 9)
            status = await heard.until(lambda status: status.readings["scored"] == held)
            assert [model.assets for model in status.models] == [1, 0]
            assert running.stop() == 0


async def test_a_gateway_that_lost_its_models_fetches_them_again(
    mosquitto: Broker, tmp_path: Path
) -> None:
    folder = tmp_path / "gw"
    for _ in range(2):
        with gateway(folder, mosquitto.url) as running:
            async with listening(mosquitto.url) as heard, site(mosquitto.port) as session:
                await heard.until(lambda status: status.presence == "online")
                await publish_model(session, joint(["a"]).data, name="joint", version=1)
                await heard.until(
                    lambda status: status.presence == "online" and len(status.models) == 2
                )
                assert running.stop() == 0
        (folder / "models" / "joint.onnx").unlink()
    with gateway(folder, mosquitto.url) as running:
        async with listening(mosquitto.url) as heard:
            await heard.until(
                lambda status: status.presence == "online" and len(status.models) == 2
            )
            assert running.stop() == 0


async def test_odd_model_topics_and_a_folder_that_cannot_be_written_stop_nothing(
    mosquitto: Broker, tmp_path: Path
) -> None:
    folder = tmp_path / "gw"
    folder.mkdir()
    (folder / "models").write_text("not a folder")
    with gateway(folder, mosquitto.url) as running:
        async with listening(mosquitto.url) as heard, site(mosquitto.port) as session:
            await heard.until(lambda status: status.presence == "online")
            data = joint(["a"]).data
            await session.publish(TOPICS.meta("targets"), b"{", retain=True)
            await heard.until(lambda status: "not_json" in "".join(status.refused_models))
            await session.publish(f"{TOPICS.root}/models/blob/xyz/1", b"odd")
            await publish_model(session, data, name="joint", version=1)
            await heard.until(lambda status: len(status.models) == 2)
            await heard.until(lambda status: "not_kept" in "".join(status.refused_models))
            assert running.stop() == 0


async def test_alerts_leave_at_once(mosquitto: Broker, tmp_path: Path) -> None:
    (tmp_path / "gw" / "models").mkdir(parents=True)
    (tmp_path / "gw" / "models" / "plain.onnx").write_bytes(magnitude().data)
    with gateway(tmp_path / "gw", mosquitto.url) as running:
        async with listening(mosquitto.url) as heard, site(mosquitto.port) as session:
            await heard.until(lambda status: status.presence == "online")
            await publish_readings(session, "x", [{"a": 0.0}, {"a": 5.0}, {"a": 6.0}])
            async with asyncio.timeout(20):
                while not heard.on("alerts/x"):
                    heard.changed.clear()
                    await heard.changed.wait()
            (payload,) = heard.on("alerts/x")
            assert decode_json(payload, AlertEvent).data.state == "opened"
            assert running.stop(signal.SIGINT) == 0
