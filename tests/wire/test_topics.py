"""The topic grammar: what is built parses back, what does not fit is refused with words."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.errors import TopicError
from wire.topics import (
    GATEWAY_KINDS,
    MAX_CHUNK,
    WITH_TAIL,
    BlobTopic,
    GatewayTopic,
    MetaTopic,
    ReadingsTopic,
    Topic,
    Topics,
    check_name,
    safe_name,
)

TOPICS = Topics()
SHA = "0123456789abcdef" * 4
names = st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True).filter(
    lambda n: n not in {".", ".."}
)
digests = st.from_regex(r"[0-9a-f]{64}", fullmatch=True)
parsed_topics = st.one_of(
    st.builds(ReadingsTopic, names),
    st.builds(GatewayTopic, names, st.sampled_from(sorted(WITH_TAIL)), names),
    st.builds(
        GatewayTopic, names, st.sampled_from(sorted(set(GATEWAY_KINDS) - WITH_TAIL)), st.none()
    ),
    st.builds(MetaTopic, names),
    st.builds(BlobTopic, digests, st.integers(0, MAX_CHUNK)),
)


def build(topics: Topics, topic: Topic) -> str:
    match topic:
        case ReadingsTopic(source):
            return topics.readings(source)
        case GatewayTopic(gateway, kind, tail):
            return topics.gateway(gateway, kind, tail)
        case MetaTopic(role):
            return topics.meta(role)
        case BlobTopic(sha256, chunk):
            return topics.blob(sha256, chunk)


def rebuilt(text: str) -> str:
    try:
        return build(TOPICS, TOPICS.parse(text))
    except TopicError as error:
        return "a reason" if "expected" in str(error) and "got" in str(error) else str(error)


@given(parsed_topics, st.sampled_from(["vedette/v1", "a", "plant 3/é/x"]))
def test_what_is_built_parses_back(topic: Topic, root: str) -> None:
    topics = Topics(root)
    assert topics.parse(build(topics, topic)) == topic


@given(st.one_of(st.text(), st.text().map("vedette/v1/".__add__)))
def test_any_text_parses_to_what_builds_it_or_is_refused(text: str) -> None:
    assert rebuilt(text) in {text, "a reason"}


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "/",
        "vedette/v1",
        "vedette/v1/",
        "vedette/v2/readings/a",
        "vedette/v1/readings/",
        "vedette/v1/readings/a/b",
        "vedette/v1/readings/a\n",
        "vedette/v1/readings/..",
        "vedette/v1/readings/" + "a" * 65,
        "vedette/v1/readings/é",
        "vedette/v1/gw/g/alerts",
        "vedette/v1/gw/g/alerts/a/b",
        "vedette/v1/gw/g/status/x",
        "vedette/v1/gw/g/other",
        "vedette/v1/gw//status",
        f"vedette/v1/models/blob/{SHA}/-1",
        f"vedette/v1/models/blob/{SHA}/01",
        f"vedette/v1/models/blob/{SHA}/\u0661",
        f"vedette/v1/models/blob/{SHA}/10000000",
        f"vedette/v1/models/blob/{SHA.upper()}/1",
        f"vedette/v1/models/blob/{SHA[1:]}/1",
    ],
)
def test_a_topic_outside_the_grammar_is_refused(topic: str) -> None:
    with pytest.raises(TopicError, match=r"expected .* got"):
        TOPICS.parse(topic)


@pytest.mark.parametrize(
    "root",
    ["", "/a", "a/", "a//b", "a/+/b", "a/#", "$SYS/a", "a\0", "a\n", "\ud800", "é" * 129],
)
def test_a_root_that_cannot_be_published_to_is_refused(root: str) -> None:
    with pytest.raises(TopicError, match=r"root: expected .* got"):
        Topics(root)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("g", "alerts", None), "alerts: expected a level behind it, got nothing"),
        (("g", "status", "a"), "status: expected nothing behind it, got 'a'"),
        (("g", "other", None), "kind: expected one of alerts, state, .* got 'other'"),
        (("g/h", "status", None), "gateway: expected 1 to 64 .* got 'g/h'"),
        (("g", "cmd", "+"), r"cmd: expected 1 to 64 .* got '\+'"),
    ],
)
def test_a_gateway_topic_that_does_not_fit_is_not_built(arguments: tuple, words: str) -> None:
    with pytest.raises(TopicError, match=words):
        TOPICS.gateway(*arguments)


@pytest.mark.parametrize(("sha256", "chunk"), [("x", 0), (SHA, -1), (SHA, MAX_CHUNK + 1)])
def test_a_chunk_that_does_not_fit_is_not_built(sha256: str, chunk: int) -> None:
    with pytest.raises(TopicError, match="blob: expected 64 of"):
        TOPICS.blob(sha256, chunk)


def matches(topic_filter: str, topic: str) -> bool:
    pattern = re.escape(topic_filter).replace(r"\+", "[^/]+")
    return re.fullmatch(pattern, topic) is not None


@given(parsed_topics)
def test_each_filter_matches_its_own_topics_only(topic: Topic) -> None:
    text = build(TOPICS, topic)
    assert matches(TOPICS.all_readings(), text) == isinstance(topic, ReadingsTopic)
    for kind in GATEWAY_KINDS:
        own = isinstance(topic, GatewayTopic) and topic.kind == kind
        assert matches(TOPICS.all_gateways(kind), text) == own
    command = isinstance(topic, GatewayTopic) and (topic.gateway, topic.kind) == ("g", "cmd")
    assert matches(TOPICS.commands("g"), text) == command
    blob = isinstance(topic, BlobTopic) and topic.sha256 == SHA
    assert matches(TOPICS.blob_chunks(SHA), text) == blob


def test_a_filter_of_an_unknown_kind_is_refused() -> None:
    with pytest.raises(TopicError, match="kind: expected one of"):
        TOPICS.all_gateways("other")


@given(st.text())
def test_any_text_becomes_a_name_and_stays_it(text: str) -> None:
    name = safe_name(text)
    assert check_name(name, what="name") == name
    assert safe_name(name) == name


@given(names.filter(lambda name: name == name.strip("-")))
def test_a_name_is_left_as_it_is(name: str) -> None:
    assert safe_name(name) == name
