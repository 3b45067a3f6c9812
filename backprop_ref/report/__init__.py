"""Pages and plots from results; they know of JSON-ready dicts, and not of what made them."""
