"""The commands about somebody's code: verify, vectors, and the catalogue of known bugs."""
