"""Steps 7 and 8: what goes upstream instead of raw data."""
