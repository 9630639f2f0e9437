"""The gate alone: is a candidate, wherever it came from, still right by its original, and can these data tell?"""
