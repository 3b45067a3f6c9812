"""A file that is given without a name: what in it goes back, or the code at its top level that trains."""
