"""Planted bugs: each spoils one promise of the product, so that the checker has to find it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.chaos.wrapping import Function, replace

__all__ = ["DEADLY", "HARMLESS", "PLANTS", "POWER_CUT", "Plant"]

CLEAN_START_BIT = 2
LIVES = 3
"""How often a plant that kills lets its moment pass: the first ones have nothing to lose."""
ANSWERED_S = 1.0
"""Time for an answer to arrive."""
UNDERWAY_S = 1.5
"""Time for sources to ask once more, and for what is told too early to arrive."""


@dataclass(frozen=True, slots=True)
class Plant:
    """A bug: in whose process, under which scenario it shows, and how it is planted."""

    program: str
    scenario: str
    plant: Callable[[], None]


def acknowledge_before_commit() -> None:
    """The gateway acknowledges a batch when it has it in memory."""

    def make(original: Function) -> Function:
        def acknowledge(self: Any, session: Any, inbound: Any) -> None:
            session.acknowledge(inbound)
            original(self, session, inbound)

        return acknowledge

    replace("gateway.committer.Committer.acknowledge", make)


def delete_on_puback() -> None:
    """The gateway forgets a message when the broker has acknowledged it."""
    services = _services()

    def make(original: Function) -> Function:
        async def publish(self: Any, lane: Any, entry: Any) -> None:
            await original(self, lane, entry)
            if not lane.flying:
                _confirm_in_gateway(services[0], entry.epoch, lane.cursor.sent)

        return publish

    replace("gateway.drain.Drain._publish", make)


def forget_what_was_sent() -> None:
    """The gateway sends at QoS 0 and forgets what it has sent."""

    def as_qos_0(original: Function) -> Function:
        async def publish(self: Any, topic: str, payload: bytes, **named: Any) -> int:
            bulk = "/summaries" in topic or "/excerpts" in topic or "/alerts/" in topic
            return await original(self, topic, payload, **named | ({"qos": 0} if bulk else {}))

        return publish

    replace("wire.mqtt.Session.publish", as_qos_0)
    delete_on_puback()


def _confirm_in_gateway(service: Any, epoch: str, seq: int) -> None:
    """Let the gateway believe that the cloud has confirmed up to `seq`."""
    from wire.codec import encode_json
    from wire.messages import StoredMessage

    message = StoredMessage(gateway=service.edge.gateway, epoch=epoch, seq=seq)
    service._take_answer("", encode_json(message))


def _services() -> list[Any]:
    """Return a list that will hold the gateway's service once it is made."""
    made: list[Any] = []

    def make(original: Function) -> Function:
        def init(self: Any, *given: Any, **named: Any) -> None:
            original(self, *given, **named)
            made.append(self)

        return init

    replace("gateway.service.Service.__init__", make)
    return made


def _die_once() -> None:
    """End this process (SIGKILL), but only the first one of the stage that comes here."""
    mark = Path(os.environ["CHAOS_FOLDER"], "struck")
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)


def clean_start() -> None:
    """The gateway begins every connection with a new session."""

    def make(original: Function) -> Function:
        def connect_packet(self: Any) -> bytes:
            packet = bytearray(original(self))
            packet[packet.index(b"\x00\x04MQTT\x05") + 7] |= CLEAN_START_BIT
            return bytes(packet)

        return connect_packet

    replace("wire.endpoint.Endpoint.connect_packet", make)


def gateway_dedup_off() -> None:
    """The gateway takes in whatever comes, as often as it comes."""
    from gateway.decode.sources import Verdict

    def make(_original: Function) -> Function:
        def judge(self: Any, epoch: str, seq: int, *, kept: bool) -> Verdict:
            self.epoch, self.seq = epoch, max(seq, self.seq)
            return Verdict.NEW

        return judge

    replace("gateway.decode.sources.SourceMark.judge", make)


def cloud_dedup_off() -> None:
    """The cloud stores whatever comes, as often as it comes."""

    def make(original: Function) -> Function:
        def claim(self: Any, seq: int) -> bool:
            original(self, seq)
            return True

        return claim

    replace("cloud.ledger.Ledger.claim", make)


def watermark_off_by_one() -> None:
    """The cloud says that one message more is stored than is."""
    import msgspec

    def make(original: Function) -> Function:
        def answers(self: Any) -> list[Any]:
            return [
                msgspec.structs.replace(answer, seq=answer.seq + 1) for answer in original(self)
            ]

        return answers

    replace("cloud.batch.Batch._answers", make)


def cloud_answers_before_commit() -> None:
    """The cloud answers for what it has in memory, and commits it with the next batch."""
    from cloud.batch import Batch

    def make(original: Function) -> Function:
        waiting: list[Any] = []
        blocks = 0

        def write(self: Any, records: Any, *, received_us: int) -> Any:
            nonlocal blocks
            held, waiting[:] = list(waiting), records
            blocks += _has_blocks(held)
            if blocks > 1 and _has_blocks(held):
                time.sleep(ANSWERED_S)
                _die_once()
            if held:
                original(self, held, received_us=received_us)
            with self._engine.connect() as connection:
                result = Batch(connection, records, received_us=received_us).write()
                connection.rollback()
            return result

        return write

    replace("cloud.store.Store.write", make)


def _has_blocks(records: list[Any]) -> bool:
    return any(type(record).__name__ in {"SummaryRecord", "ExcerptRecord"} for record in records)


def gateway_confirms_before_commit() -> None:
    """The gateway tells a source that its messages are stored when it has them in memory."""
    services, early = _services(), 0

    def at_once(original: Function) -> Function:
        def add(self: Any, entries: Any, *, told: Any = ()) -> None:
            nonlocal early
            told = list(told)
            answers = [entry for entry in told if entry.kind == "confirmed"]
            early += bool(answers and services[0].edge.events)
            services[0]._send(answers)
            original(self, entries, told=[entry for entry in told if entry not in answers])

        return add

    def deadly(original: Function) -> Function:
        def commit(self: Any, commit: Any) -> Any:
            if early and commit.draft is not None and commit.draft.events:
                time.sleep(UNDERWAY_S)
                _die_once()
            return original(self, commit)

        return commit

    replace("gateway.committer.Committer.add", at_once)
    replace("gateway.durable.database.Database.commit", deadly)


def sensor_deletes_at_puback() -> None:
    """A sensor forgets readings when the broker has acknowledged them."""

    def make(original: Function) -> Function:
        def step(self: Any, *given: Any, **named: Any) -> None:
            original(self, *given, **named)
            connection = self._connection
            if connection is None or connection.state != "open" or connection.unacknowledged:
                return
            for name, confirming in self._sources.items():
                if confirming.ready:
                    self._kept.confirm(name, seq=confirming._next - 1)

        return step

    replace("sensors.keptpublisher.KeptPublisher._step", make)


def numbers_begin_anew() -> None:
    """The gateway counts its messages from 1 again after each start, in the same epoch."""

    def make(original: Function) -> Function:
        def recover(*given: Any, **named: Any) -> Any:
            found = original(*given, **named)
            for lane in found.edge.lanes:
                found.edge.lanes[lane] = 0
            return found

        return recover

    replace("gateway.durable.recovery.recover", make)


def effects_numbered_anew() -> None:
    """After a crash the gateway makes its messages anew, under numbers of their own."""

    def make(original: Function) -> Function:
        def replay(self: Any, rows: Any) -> Any:
            rows = list(rows)
            for lane in self.lanes if rows else ():
                self.lanes[lane] = rows[-1].lanes.get(lane, 0)
            made = original(self, rows)
            for entry in made:
                for lane in self.lanes:
                    if entry.epoch.endswith(lane):
                        self.lanes[lane] = max(self.lanes[lane], entry.seq)
            return made

        return replay

    replace("gateway.edge.Edge.replay", make)


def checkpoint_apart() -> None:
    """The gateway writes a checkpoint in a transaction of its own, and dies before the other."""

    def make(original: Function) -> Function:
        checkpoints = 0

        def commit(self: Any, commit: Any) -> Any:
            nonlocal checkpoints
            if commit.state is not None:
                checkpoints += 1
                self._connection.execute("BEGIN IMMEDIATE")
                self._insert_snapshot(self.last_row + 1, commit.state)
                self._connection.execute("COMMIT")
                if checkpoints > LIVES and commit.entries:
                    _die_once()
            return original(self, commit)

        return commit

    replace("gateway.durable.database.Database.commit", make)


def frequent_checkpoints() -> None:
    """No bug: checkpoints come after few readings, so that a short run has some."""
    import gateway.committer as module

    module.SNAPSHOT_READINGS = 60
    module.SNAPSHOT_READINGS_A_STREAM = 0


def drops_when_busy() -> None:
    """The gateway drops what comes beyond a few messages, and acknowledges it all the same."""

    def make(original: Function) -> Function:
        async def receive(self: Any, **named: Any) -> Any:
            inbound = await original(self, **named)
            del inbound.packets[4:]
            return inbound

        return receive

    replace("wire.mqtt.Session.receive", make)


def _plants() -> dict[str, Plant]:
    gateway: dict[str, tuple[Function, str]] = {
        "acknowledge before commit": (acknowledge_before_commit, "gateway dies before commit"),
        "outbox rows deleted on PUBACK": (delete_on_puback, "broker forgets"),
        "QoS 0 uplink, forgotten once sent": (forget_what_was_sent, "broker forgets"),
        "clean start": (clean_start, "gateway is away"),
        "dedup off at the gateway": (gateway_dedup_off, "gateway dies after commit"),
        "numbers begin anew at each start": (numbers_begin_anew, "gateway is restarted"),
        "effects without deterministic ids": (effects_numbered_anew, "gateway dies after commit"),
        "checkpoint outside the transaction": (checkpoint_apart, "gateway dies at a checkpoint"),
        "confirmed to the source before commit": (
            gateway_confirms_before_commit,
            "gateway dies while it confirms",
        ),
        "queue that drops when busy": (drops_when_busy, "a device hurries"),
    }
    cloud: dict[str, tuple[Function, str]] = {
        "dedup off at the cloud": (cloud_dedup_off, "cloud dies after commit"),
        "watermark one too high": (watermark_off_by_one, "broker forgets"),
        "stored said before commit": (cloud_answers_before_commit, "cloud dies before commit"),
    }
    sensor: dict[str, tuple[Function, str]] = {
        "sensor deletes at PUBACK": (sensor_deletes_at_puback, "site broker forgets"),
    }
    groups = {"gateway": gateway, "cloud": cloud, "producer": sensor}
    return {
        name: Plant(program, scenario, plant)
        for program, group in groups.items()
        for name, (plant, scenario) in group.items()
    }


PLANTS = _plants()
DEADLY = {
    "checkpoint outside the transaction",
    "confirmed to the source before commit",
    "stored said before commit",
}
"""Those that kill by themselves, once, at the moment at which they do harm."""
HARMLESS = {"frequent checkpoints": frequent_checkpoints}
"""Changes that are no bugs, for scenarios that need them with and without one."""
POWER_CUT = ("synchronous off",)
"""Bugs that no kill -9 can show: the operating system keeps what the process wrote."""
