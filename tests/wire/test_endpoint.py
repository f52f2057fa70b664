from __future__ import annotations

import mqtt5
import pytest

from wire.endpoint import Endpoint, Will
from wire.mqtt_errors import EndpointError


def test_a_url_gives_address_and_credentials() -> None:
    endpoint = Endpoint.from_url("mqtt://me:p%40ss@broker.local:1884", client_id="c")
    assert (endpoint.host, endpoint.port, endpoint.tls) == ("broker.local", 1884, False)
    assert (endpoint.username, endpoint.password) == ("me", "p@ss")


def test_a_url_has_the_default_port_of_its_scheme_and_takes_overrides() -> None:
    assert Endpoint.from_url("mqtt://h", client_id="c").port == 1883
    secure = Endpoint.from_url("mqtts://[::1]/", client_id="c", keep_alive_s=5)
    assert (secure.host, secure.port, secure.tls, secure.keep_alive_s) == ("::1", 8883, True, 5)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "h:1883",
        "http://h",
        "mqtt://",
        "mqtt://h:0",
        "mqtt://h:99999",
        "mqtt://h:x",
        "mqtt://h/p",
    ],
)
def test_another_form_is_refused(url: str) -> None:
    with pytest.raises(EndpointError, match="expected mqtt://"):
        Endpoint.from_url(url, client_id="c")


def test_the_password_is_shown_nowhere() -> None:
    endpoint = Endpoint.from_url("mqtt://me:secret@h", client_id="c")
    assert "secret" not in repr(endpoint)
    with pytest.raises(EndpointError) as refused:
        Endpoint.from_url("mqtt://me:secret@h/path", client_id="c")
    assert "secret" not in str(refused.value)


def test_connect_resumes_and_announces_our_limits() -> None:
    endpoint = Endpoint(host="h", client_id="c", receive_max=7, will=Will("status", b"gone"))
    packet, _ = mqtt5.read(memoryview(endpoint.connect_packet()))
    assert isinstance(packet, mqtt5.ConnectPacket)
    assert not packet.clean_start
    assert packet.session_expiry_interval == 604_800
    assert (packet.receive_max, packet.max_packet_size) == (7, 1_048_576)
    assert packet.will is not None
    assert (packet.will.topic, packet.will.payload, packet.will.retain) == ("status", b"gone", True)
    assert packet.will.qos == mqtt5.QoS.AT_LEAST_ONCE
