"""Step 1: (topic, payload) to readings, by ordered source rules."""
