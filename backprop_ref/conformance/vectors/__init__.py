"""The golden vectors: their recipes, what is expected of them, and their files."""
