"""File formats: each reads a file as blocks of named columns, and writes rows of them."""
