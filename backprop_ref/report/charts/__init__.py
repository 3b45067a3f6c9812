"""Charts as figures in plotly's notation."""
