"""Side-by-side comparison on held-out scenarios: play, score, intervals, frontiers, report."""
