"""One step of training in numbers, and why its formulas are what they are."""
