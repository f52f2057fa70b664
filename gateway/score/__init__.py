"""Step 4: run the models on the rows that are ready."""
