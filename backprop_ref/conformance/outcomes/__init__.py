"""What is said of a submission: an outcome, as text and as a page."""
