"""Step 9: what survives a kill -9 and a power cut: journal, checkpoint, outbox in one database."""
