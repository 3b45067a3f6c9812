"""What rounding may do to the numbers of a pass, and what is exactly right."""
