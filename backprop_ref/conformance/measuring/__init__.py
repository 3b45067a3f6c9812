"""Measures each rule of a submission with inputs made for it, and says which one is off."""
