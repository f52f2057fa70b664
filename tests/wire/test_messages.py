"""Messages of version 1: exact round trips, and bounds that hold."""

from __future__ import annotations

from functools import partial

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wire.codec import decode_json, encode_json
from wire.errors import MessageError
from wire.messages import (
    CHUNK_BYTES,
    MAX_EVENT_MS,
    Alert,
    AlertChannel,
    AlertEvent,
    AssetState,
    GatewayStatus,
    ModelManifest,
    ModelRef,
    ModelStatus,
    ModelTarget,
    StoredMessage,
)

SHA = "ab" * 32
names = st.sampled_from(["g", "pump-1", "a.b_c", "x" * 64])
texts = st.text(min_size=1, max_size=20)
counts = st.integers(0, 2**63 - 1)
numbers = st.floats(allow_nan=False, allow_infinity=False)
times = st.floats(0, MAX_EVENT_MS)
shares = st.floats(0, 1)
ledgers = st.dictionaries(st.text(max_size=10), counts, max_size=3)

channels = st.builds(AlertChannel, name=texts, value=numbers, score=numbers, unit=st.text())
alerts = st.builds(
    Alert,
    gateway=names,
    asset=names,
    state=st.sampled_from(["opened", "updated", "closed"]),
    severity=st.sampled_from(["warning", "critical"]),
    start_ms=times,
    peak_ms=times,
    last_ms=times,
    end_ms=st.none() | times,
    rows=counts,
    score=numbers,
    p=shares,
    threshold_p=shares,
    model=st.builds(ModelRef, id=names, version=counts),
    channels=st.lists(channels, max_size=3).map(tuple),
    text=st.text(),
)
events = st.builds(
    AlertEvent, id=texts, source=texts, time=texts, data=alerts, alertid=texts, subject=names
)
states = st.builds(
    AssetState,
    asset=names,
    state=st.sampled_from(["ok", "alerting"]),
    since_ms=times,
    alerts=st.lists(texts, max_size=3).map(tuple),
)
models = st.builds(
    ModelStatus,
    id=names,
    version=counts,
    sha256=st.just(SHA),
    role=st.sampled_from(["bundled", "champion"]),
    assets=counts,
    scored=counts,
)
statuses = st.builds(
    GatewayStatus,
    gateway=names,
    presence=st.sampled_from(["online", "offline"]),
    version=st.text(),
    time_ms=times,
    uptime_s=numbers,
    assets=counts,
    readings=ledgers,
    rejected=ledgers,
    models=st.lists(models, max_size=2).map(tuple),
    refused_models=st.lists(st.text(), max_size=2).map(tuple),
)
stored = st.builds(StoredMessage, gateway=names, epoch=texts, seq=counts)


def target(size_bytes: int, *, name: str = "m", version: int = 1) -> ModelTarget:
    chunks = -(-size_bytes // CHUNK_BYTES)
    return ModelTarget(id=name, version=version, sha256=SHA, size_bytes=size_bytes, chunks=chunks)


manifests = st.builds(
    ModelManifest,
    version=counts,
    targets=st.lists(names, unique=True).flatmap(
        lambda chosen: st.tuples(
            *(st.builds(partial(target, name=name), st.integers(1, 2**24)) for name in chosen)
        )
    ),
)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.one_of(events, states, statuses, stored, manifests))
def test_every_message_survives_the_wire_exactly(message: msgspec.Struct) -> None:
    payload = encode_json(message)
    assert decode_json(payload, type(message)) == message
    assert encode_json(decode_json(payload, type(message))) == payload


STORED = {"gateway": "g", "epoch": "e", "seq": 1}
STATE = {"asset": "a", "state": "ok", "since_ms": 0, "alerts": []}
STATUS = {"gateway": "g", "presence": "online"}
TARGET = {"id": "m", "version": 1, "sha256": SHA, "size_bytes": 49_153, "chunks": 2}
MANIFEST = {"version": 1, "targets": [TARGET]}
ALERT = {
    "gateway": "g",
    "asset": "a",
    "state": "opened",
    "severity": "warning",
    "start_ms": 0,
    "peak_ms": 0,
    "last_ms": 0,
    "rows": 1,
    "score": 1,
    "p": 0.1,
    "threshold_p": 0.1,
    "model": {"id": "m", "version": 1},
    "channels": [],
    "text": "",
}
EVENT = {"id": "1", "source": "s", "time": "t", "data": ALERT, "alertid": "1", "subject": "a"}
PLACE = {"name": "c", "value": 1, "score": 1}


@pytest.mark.parametrize(
    ("kind", "good", "change", "reason", "words"),
    [
        (StoredMessage, STORED, {"v": 2}, "wrong_version", "expected StoredMessage, got"),
        (StoredMessage, STORED, {"v": True}, "wrong_version", "got `bool`"),
        (StoredMessage, STORED, {"gateway": "g\n"}, "wrong_type", "regex"),
        (StoredMessage, STORED, {"gateway": ".."}, "wrong_type", "regex"),
        (StoredMessage, STORED, {"gateway": "a/b"}, "wrong_type", "regex"),
        (StoredMessage, STORED, {"epoch": ""}, "wrong_type", "length >= 1"),
        (StoredMessage, STORED, {"seq": -1}, "wrong_type", ">= 0"),
        (StoredMessage, STORED, {"seq": 2**63}, "wrong_type", "<= 9223372036854775807"),
        (AssetState, STATE, {"state": "bad"}, "wrong_type", "'bad' - at `$.state`"),
        (AssetState, STATE, {"since_ms": -1}, "wrong_type", ">= 0"),
        (AssetState, STATE, {"since_ms": 1e300}, "wrong_type", "<= 7258118400000.0"),
        (GatewayStatus, STATUS, {"v": 0}, "wrong_version", "at `$.v`"),
        (GatewayStatus, STATUS, {"readings": {"late": -1}}, "wrong_type", ">= 0"),
        (GatewayStatus, STATUS, {"presence": None}, "wrong_type", "presence"),
        (AlertEvent, EVENT, {"type": "vedette.alert.v2"}, "wrong_version", "$.type"),
        (AlertEvent, EVENT, {"specversion": "0.3"}, "wrong_version", "$.specversion"),
        (AlertEvent, EVENT, {"data": ALERT | {"p": 1.1}}, "wrong_type", "<= 1.0"),
        (AlertEvent, EVENT, {"data": ALERT | {"channels": [PLACE] * 4}}, "wrong_type", "<= 3"),
        (AlertEvent, EVENT, {"data": ALERT | {"severity": "info"}}, "wrong_type", "'info'"),
        (ModelManifest, MANIFEST, {"targets": [TARGET, TARGET]}, "wrong_type", "one target a name"),
        (ModelManifest, MANIFEST, {"targets": [TARGET | {"chunks": 1}]}, "wrong_type", "2 chunks"),
        (ModelManifest, MANIFEST, {"targets": [TARGET | {"chunks": 3}]}, "wrong_type", "2 chunks"),
        (ModelManifest, MANIFEST, {"targets": [TARGET | {"size_bytes": 0}]}, "wrong_type", ">= 1"),
        (
            ModelManifest,
            MANIFEST,
            {"targets": [TARGET | {"size_bytes": 2**24 + 1, "chunks": 342}]},
            "wrong_type",
            "<= 16777216",
        ),
        (
            ModelManifest,
            MANIFEST,
            {"targets": [TARGET | {"sha256": SHA + "\n"}]},
            "wrong_type",
            "regex",
        ),
    ],
)
def test_a_field_outside_its_bounds_is_refused(
    kind: type[msgspec.Struct], good: dict, change: dict, reason: str, words: str
) -> None:
    decode_json(msgspec.json.encode(good), kind)
    with pytest.raises(MessageError, match=f"^{reason}: expected {kind.__name__}") as caught:
        decode_json(msgspec.json.encode(good | change), kind)
    assert words in caught.value.detail


@pytest.mark.parametrize(
    ("kind", "good"),
    [
        (StoredMessage, STORED),
        (AssetState, STATE),
        (GatewayStatus, STATUS),
        (AlertEvent, EVENT),
        (ModelManifest, MANIFEST),
    ],
)
def test_required_fields_are_required_and_unknown_ones_skipped(
    kind: type[msgspec.Struct], good: dict
) -> None:
    whole = decode_json(msgspec.json.encode(good), kind)
    assert decode_json(msgspec.json.encode(good | {"later": [1, {}]}), kind) == whole
    for name in good:
        less = {key: value for key, value in good.items() if key != name}
        with pytest.raises(MessageError, match=f"missing required field `{name}`"):
            decode_json(msgspec.json.encode(less), kind)
