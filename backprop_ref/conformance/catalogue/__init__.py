"""The known bugs, as replaced rules of a textbook pass."""
