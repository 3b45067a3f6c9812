"""Which known bug explains wrong answers."""
