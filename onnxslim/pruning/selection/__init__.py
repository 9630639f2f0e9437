"""What goes under a budget: candidates, their measured effects on the outputs, and the knapsack over both."""
