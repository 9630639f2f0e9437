"""Sequences as a whole: how an error goes on in time, and what texts prove of a decoder."""
