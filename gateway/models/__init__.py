"""How a model comes into service: transferred, checked, kept on disk, put on the shelf."""
