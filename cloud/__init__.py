"""The aggregator: ingest, store, train, register and push models."""
