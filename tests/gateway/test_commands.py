"""The commands around a gateway, and the client for alert subscribers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiomqtt
import pytest

import vedette
from tests.gateway import graphs
from tests.gateway.running import TOPICS, gateway, listening, publish_readings, site
from vedette.broker import Broker, free_port, start_mosquitto
from vedette.client import open_client
from wire.codec import decode_json, encode_json
from wire.errors import WireError
from wire.messages import Alert, AlertChannel, AlertEvent, GatewayStatus, ModelRef
from wire.mqtt import Session

ROOT = Path(__file__).parents[2]


async def command(*args: str | Path) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "vedette", *map(str, args)),
        cwd=ROOT,
        env=os.environ | {"COLUMNS": "300"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, errors = await process.communicate()
    return process.returncode or 0, out.decode(), errors.decode()


def config_for(folder: Path, url: str, more: str = "") -> Path:
    path = folder / "gateway.toml"
    path.write_text(f'[site]\nurl = "{url}"\n{more}', "utf-8")
    return path


# gateway


async def test_check_says_what_is_in_force(tmp_path: Path) -> None:
    path = config_for(tmp_path, "mqtt://127.0.0.1:1", '[gateway]\nid = "g7"\n')
    (code, out, _), (code_json, out_json, _), bare = await asyncio.gather(
        command("gateway", "check", "--config", path),
        command("gateway", "check", "--config", path, "--json"),
        command("gateway", "check", "--config", ROOT / "deploy" / "gateway.toml", "--json"),
    )
    assert (code, code_json, bare[0]) == (0, 0, 0)
    assert '"id": "g7"' in out
    assert json.loads(out_json)["gateway"]["id"] == "g7"
    assert json.loads(bare[1])["gateway"]["id"] == "gateway"


async def test_a_bad_configuration_is_exit_code_3_with_file_line_and_key(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text("[gateway]\n\nidd = 1\n", "utf-8")
    none = tmp_path / "none.toml"
    calls = [
        ("check", path, f"{path}:3: "),
        ("status", path, "idd"),
        ("run", path, "idd"),
        ("check", none, "expected a readable TOML file"),
    ]
    results = await asyncio.gather(
        *(command("gateway", verb, "--config", file) for verb, file, _ in calls)
    )
    for (code, out, errors), (_, _, words) in zip(results, calls, strict=True):
        assert (code, out) == (3, "")
        assert words in errors.replace("\n", "")
        assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "No such file"), (b"", "got an empty file"), (b"\xff", "expected a readable file")],
)
async def test_an_unusable_password_file_is_a_bad_configuration(
    content: bytes | None, words: str, tmp_path: Path
) -> None:
    path = config_for(tmp_path, "mqtt://127.0.0.1:1", 'username = "u"\npassword_file = "p"\n')
    if content is not None:
        (tmp_path / "p").write_bytes(content)
    for verb in ("run", "status"):
        code, _, errors = await command("gateway", verb, "--config", path)
        assert code == 3
        assert words in errors
        assert "Traceback" not in errors


async def test_brackets_in_a_message_are_no_markup(tmp_path: Path) -> None:
    path = config_for(tmp_path, "mqtt://127.0.0.1:1", '[gateway]\nid = "[/a]"\n')
    code, _, errors = await command("gateway", "check", "--config", path)
    assert code == 3
    assert "got '[/a]'" in errors


async def test_status_of_a_running_a_stopped_and_an_unknown_gateway(
    mosquitto: Broker, tmp_path: Path
) -> None:
    folder = tmp_path / "gw"
    with gateway(folder, mosquitto.url) as running:
        path = folder / "gateway.toml"
        async with listening(mosquitto.url) as heard, site(mosquitto.port) as session:
            await heard.until(lambda status: status.presence == "online")
            await session.publish(TOPICS.readings("x"), b"{garbage")
            held = await publish_readings(session, "x", [{"a": 1.0}] * 3)
            await heard.until(lambda status: status.readings["scored"] == held)
            (code, out, _), (code_json, out_json, _) = await asyncio.gather(
                command("gateway", "status", "--config", path),
                command("gateway", "status", "--config", path, "--json"),
            )
            assert (code, code_json) == (0, 0)
            assert "gateway is online" in out
            assert "scored 3" in out
            assert "not_json: expected" in out.replace("\n", " ")
            assert json.loads(out_json)["readings"]["scored"] == 3
            assert running.stop() == 0
    unknown = config_for(tmp_path, mosquitto.url, '[gateway]\nid = "stranger"\n')
    (stopped, out, _), (none, _, errors) = await asyncio.gather(
        command("gateway", "status", "--config", config_for(folder, mosquitto.url)),
        command("gateway", "status", "--config", unknown),
    )
    assert (stopped, none) == (1, 1)
    assert "is offline" in out
    assert "expected a retained status, got none" in errors


async def test_status_without_a_broker_is_exit_code_4(tmp_path: Path) -> None:
    path = config_for(tmp_path, f"mqtt://127.0.0.1:{free_port()}")
    code, out, errors = await command("gateway", "status", "--config", path)
    assert (code, out) == (4, "")
    assert "Is it running?" in errors


async def test_status_shows_its_password_to_the_broker(
    needs_mosquitto: None, broker_directory: Path, tmp_path: Path
) -> None:
    passwords = broker_directory / "passwords"
    program = shutil.which("mosquitto_passwd")
    if program is None:
        pytest.skip("mosquitto_passwd is not installed")
    made = await asyncio.create_subprocess_exec(program, "-b", "-c", passwords, "u", "secret")
    assert await made.wait() == 0
    overrides = {"allow_anonymous": "false", "password_file": str(passwords)}
    with start_mosquitto(
        port=free_port(), directory=broker_directory, overrides=overrides
    ) as broker:
        (tmp_path / "password").write_text("secret\n")
        path = config_for(tmp_path, broker.url, 'username = "u"\npassword_file = "password"\n')
        code, _, errors = await command("gateway", "status", "--config", path)
        assert code == 1
        assert "got none" in errors


# models


async def test_models_are_verified_and_listed(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.onnx", tmp_path / "bad.onnx"
    good.write_bytes(graphs.fleet().data)
    bad.write_bytes(graphs.not_a_number().data)
    (
        (ok, out, _),
        (refused, none, why),
        (listed, lines, _),
        (table, text, _),
        gone,
    ) = await asyncio.gather(
        command("models", "verify", good, "--json"),
        command("models", "verify", bad),
        command("models", "list", tmp_path, "--json"),
        command("models", "list", tmp_path),
        command("models", "verify", tmp_path / "none.onnx"),
    )
    assert (ok, refused, listed, table, gone[0]) == (0, 5, 0, 0, 5)
    assert (json.loads(out)["id"], json.loads(out)["assets"]) == ("fleet", 3)
    assert none == ""
    assert "not_finite: expected" in why
    facts = [json.loads(line) for line in lines.splitlines()]
    assert [fact["file"] for fact in facts] == ["bad.onnx", "good.onnx"]
    assert "not_finite" in facts[0]["note"]
    assert facts[1]["note"] == "ok"
    assert "good.onnx" in text


# alerts


def alert(asset: str, severity: str, state: str = "opened") -> bytes:
    return encode_json(
        AlertEvent(
            id=f"1-{asset}-{severity}-{state}",
            source="vedette/g1",
            time="2026-03-09T08:00:00.000Z",
            alertid="1",
            subject=asset,
            data=Alert(
                gateway="g1",
                asset=asset,
                state=state,  # type: ignore[arg-type]
                severity=severity,  # type: ignore[arg-type]
                start_ms=1.0,
                peak_ms=1.0,
                last_ms=1.0,
                rows=1,
                score=5.0,
                p=1e-6,
                threshold_p=1e-3,
                model=ModelRef("robust", 1),
                channels=(AlertChannel("flow", 1.0, 5.0),),
                text=f"{asset}: flow is unusual at 1.",
            ),
        )
    )


async def publish_until(session: Session, done: asyncio.Event) -> None:
    """Publish garbage, another asset, a warning and a critical alert, again and again."""
    while not done.is_set():
        topic = TOPICS.gateway("g1", "alerts", "pump-1")
        await session.publish(topic, b"garbage")
        await session.publish(TOPICS.gateway("g1", "alerts", "other"), alert("other", "critical"))
        await session.publish(topic, alert("pump-1", "warning"))
        await session.publish(topic, alert("pump-1", "critical"))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(done.wait(), 0.05)


@contextlib.asynccontextmanager
async def alerts_flow(port: int) -> AsyncIterator[None]:
    done = asyncio.Event()
    async with site(port, name="alerting") as session:
        task = asyncio.create_task(publish_until(session, done))
        try:
            yield
        finally:
            done.set()
            await task


async def heard(url: str, count: int, **filters: str) -> list[tuple[str, str]]:
    found = []
    async with asyncio.timeout(20):
        async with contextlib.aclosing(vedette.subscribe(url, **filters)) as stream:  # type: ignore[type-var, arg-type]
            async for event in stream:
                found.append((event.data.asset, event.data.severity))
                if len(found) == count:
                    break
    return found


async def test_subscribers_choose_by_asset_and_severity(mosquitto: Broker) -> None:
    async with alerts_flow(mosquitto.port):
        everything, pump, severe = await asyncio.gather(
            heard(mosquitto.url, 6),
            heard(mosquitto.url, 4, asset="pump-1"),
            heard(mosquitto.url, 4, severity="critical"),
        )
    assert set(everything) == {
        ("other", "critical"),
        ("pump-1", "warning"),
        ("pump-1", "critical"),
    }
    assert set(pump) == {("pump-1", "warning"), ("pump-1", "critical")}
    assert set(severe) == {("other", "critical"), ("pump-1", "critical")}


async def test_subscribers_come_back_after_a_restart_of_the_broker(
    needs_mosquitto: None, broker_directory: Path
) -> None:
    port, found = free_port(), []
    more = asyncio.Event()

    async def listen() -> None:
        async for event in vedette.subscribe(f"mqtt://127.0.0.1:{port}", severity="critical"):
            found.append(event)
            more.set()

    with start_mosquitto(port=port, directory=broker_directory):
        task = asyncio.create_task(listen())
        async with alerts_flow(port), asyncio.timeout(20):
            await more.wait()
    more.clear()
    found.clear()
    with start_mosquitto(port=port, directory=broker_directory):
        async with alerts_flow(port), asyncio.timeout(20):
            await more.wait()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    assert found


async def test_a_first_connection_that_fails_is_told() -> None:
    with pytest.raises(aiomqtt.MqttError):
        await heard(f"mqtt://127.0.0.1:{free_port()}", 1)
    for url, filters in (("http://x", {}), ("mqtt://127.0.0.1", {"asset": "a/+"})):
        with pytest.raises(WireError, match="expected"):
            await heard(url, 1, **filters)


async def test_the_command_prints_alerts_and_stops(mosquitto: Broker) -> None:
    async with alerts_flow(mosquitto.port):
        where = ("alerts", "--broker", mosquitto.url, "--count")
        (code, out, _), (code_json, out_json, _) = await asyncio.gather(
            command(*where, "2", "--asset", "pump-1"),
            command(*where, "1", "--severity", "critical", "--json"),
        )
    assert (code, code_json) == (0, 0)
    assert len(out.splitlines()) == 2
    assert "pump-1: flow is unusual at 1." in out
    assert json.loads(out_json)["data"]["severity"] == "critical"


async def test_exit_codes_of_alerts() -> None:
    none = f"mqtt://127.0.0.1:{free_port()}"
    (unreachable, _, _), (odd, _, why), (usage, _, _) = await asyncio.gather(
        command("alerts", "--broker", none),
        command("alerts", "--broker", "http://x"),
        command("alerts", "--severity", "mild"),
    )
    assert (unreachable, odd, usage) == (4, 2, 2)
    assert "expected mqtt://" in why
    assert "Traceback" not in why


async def test_the_example_has_ten_lines_and_runs(mosquitto: Broker) -> None:
    example = ROOT / "examples" / "subscribe.py"
    code = [line for line in example.read_text("utf-8").splitlines() if line.strip()]
    assert len(code) <= 10
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(example), mosquitto.url),
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout
        async with alerts_flow(mosquitto.port), asyncio.timeout(20):
            line = await process.stdout.readline()
    finally:
        process.kill()
        await process.wait()
    assert line.decode().startswith("2026-03-09T08:00:00.000Z ")


async def test_a_status_that_cannot_be_read_is_a_finding(mosquitto: Broker, tmp_path: Path) -> None:
    async with site(mosquitto.port) as session:
        topic = TOPICS.gateway("gateway", "status")
        await session.publish(topic, b"{}", retain=True)
        code, _, errors = await command(
            "gateway", "status", "--config", config_for(tmp_path, mosquitto.url)
        )
        assert code == 1
        assert "cannot be read" in errors
        offline = encode_json(GatewayStatus(gateway="gateway", presence="offline"))
        await session.publish(topic, offline, retain=True)


async def test_id_and_broker_can_be_given_without_a_file(mosquitto: Broker) -> None:
    given = ["--id", "bench-7", "--broker", mosquitto.url]
    async with open_client(mosquitto.url) as client:
        await client.subscribe("vedette/v1/gw/bench-7/status", qos=1)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "vedette", "gateway", "run", *given
        )
        async with asyncio.timeout(30):
            message = await anext(aiter(client.messages))
        assert decode_json(bytes(message.payload), GatewayStatus).presence == "online"
        process.terminate()
        assert await process.wait() == 0
    code, _, errors = await command("gateway", "check", "--id", "a/b")
    assert code == 3
    assert "gateway.id" in errors
