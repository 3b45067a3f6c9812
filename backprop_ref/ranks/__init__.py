"""One training in several processes: who has which shards, and sums over all of them in order."""
