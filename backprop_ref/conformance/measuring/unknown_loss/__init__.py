"""A loss that is none of ours: whether the gradient is its derivative, and which rule is off if it is not."""
