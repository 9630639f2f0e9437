"""The static scheme: ranges of activations known from data, int8 in QDQ form, placed where the runtime gains by it."""
