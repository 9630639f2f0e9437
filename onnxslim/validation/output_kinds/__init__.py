"""What each output of a model is, and so by which metrics it is judged: a table of recognizers, most specific first."""
