"""What crosses the network: messages, topics, codec, model contract, sketches, the MQTT session."""
