"""Data in a folder, larger than memory: read a block of rows at a time, in an order that a seed fixes."""
