"""Simulated machines: coupled channels, seeded noise, labelled faults."""
