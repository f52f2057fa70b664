"""The steps between which a process may die: a name, whose it is, and where it is found."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["POINTS", "RARE", "Step"]


@dataclass(frozen=True, slots=True)
class Step:
    """A function or method of the product, or the SQL statements that match a pattern."""

    program: str
    path: str = ""
    statement: str = ""
    given: str = ""
    """Only calls count whose arguments, written as text, hold this pattern."""
    result: str = ""
    """After: only calls count whose result, written as text, holds this pattern."""


def _points(program: str, paths: dict[str, str], statements: dict[str, str]) -> dict[str, Step]:
    calls = {f"{program}-{name}": Step(program, path) for name, path in paths.items()}
    spoken = {
        f"{program}-sql-{name}": Step(program, statement=pattern)
        for name, pattern in statements.items()
    }
    return calls | spoken


GATEWAY = {
    "recover": "gateway.durable.recovery.recover",
    "settle": "gateway.durable.recovery._settle",
    "take": "gateway.edge.Edge.take",
    "tick": "gateway.edge.Edge.tick",
    "answer-source": "gateway.service.Service._answer_source",
    "take-answer": "gateway.service.Service._take_answer",
    "commit": "gateway.durable.database.Database.commit",
    "journal-row": "gateway.durable.database.Database._insert_row",
    "entries": "gateway.durable.database.Database._insert_entries",
    "confirmed": "gateway.durable.database.Database._delete_entries",
    "checkpoint": "gateway.durable.database.Database._insert_snapshot",
    "head": "gateway.durable.head.HeadFile.write",
    "prune": "gateway.durable.database.Database.prune_journal",
    "committed": "gateway.service.Service._committed",
    "acknowledge": "wire.mqtt.Session.acknowledge",
    "upload": "gateway.drain.Drain._publish",
    "ask": "gateway.drain.Drain._ask",
    "publish": "wire.mqtt.Session.publish",
}
CLOUD = {
    "open": "cloud.database.open_database",
    "read": "cloud.service.CloudService._read",
    "write": "cloud.store.Store.write",
    "ledgers": "cloud.batch.save_ledgers",
    "summaries": "cloud.batch.insert_summaries",
    "alert": "cloud.batch.insert_alert",
    "confirm": "cloud.batch.Batch._confirm",
    "acknowledge": "wire.mqtt.Session.acknowledge",
    "answer": "cloud.service.CloudService._publish_answer",
}
PRODUCER = {
    "append": "sensors.kept.KeptReadings.append",
    "confirm": "sensors.kept.KeptReadings.confirm",
    "answered": "sensors.kept.KeptReadings.answered",
    "send": "sensors.connection.Connection.publish",
    "take-answer": "sensors.keptpublisher.KeptPublisher._take",
    "log": "tests.chaos.taking.TakenLog.extend",
}
TRANSACTION = {"begin": "BEGIN", "insert": "INSERT", "delete": "DELETE", "commit": "COMMIT"}

POINTS: dict[str, Step] = {
    **_points("gateway", GATEWAY, TRANSACTION),
    **_points("cloud", CLOUD, {"insert": "INSERT", "update": "UPDATE", "commit": "COMMIT"}),
    **_points("producer", PRODUCER, TRANSACTION),
    "gateway-readings": Step("gateway", GATEWAY["commit"], given=r"Taken\("),
    "gateway-effects": Step("gateway", GATEWAY["commit"], given=r"(?s)Taken\(.*entries=\[Entry"),
    "cloud-blocks": Step("cloud", "cloud.store.Store.write", result="summaries|excerpts"),
}
"""To add a point, add a line to one of the tables above."""
RARE = {"gateway-recover", "gateway-settle", "gateway-checkpoint", "gateway-prune", "cloud-open"}
"""Points that a run comes to only once or twice, at its start."""
