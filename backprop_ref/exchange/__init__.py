"""Networks to and from other libraries and languages: a file for each of them, whose package is imported when used."""
