"""Is a gradient right? Checks that do not use the formulas of the backward pass, and bounds on rounding errors."""
