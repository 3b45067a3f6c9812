"""Programs as people write them, right and wrong, each with its truth; and the harness that lets verify judge them."""
