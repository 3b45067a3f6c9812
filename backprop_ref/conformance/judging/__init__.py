"""Golden vectors: the verdict on each tensor of an answer, and what they say together."""
