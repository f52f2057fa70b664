"""The edge service: decode, preprocess, window, score, decide, episode, summarise, publish."""
