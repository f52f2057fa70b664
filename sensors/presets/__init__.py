"""Presets: published recordings read as their authors distribute them, one module each."""
