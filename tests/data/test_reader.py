"""Every reader is asked the same."""

from __future__ import annotations

from onnxslim.data.sources import READERS


def test_every_reader_says_what_it_takes_and_how() -> None:
    for reader in READERS:
        assert reader.accepts.__doc__
        assert reader.read.__doc__
