"""Step 9: what survives a kill -9 and a power cut: journal, snapshot, outbox in one database."""
