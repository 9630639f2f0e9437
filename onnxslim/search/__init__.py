"""What the search needs besides carrying out recipes: what to try next, a record of what was tried, and the Pareto front."""
