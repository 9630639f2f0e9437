"""Models of a folder that serve together: which they are, how serving runs them, and what the text loses by all of them.

``encoder_decoder`` tells by names which file is the encoder and which files decode; ``serving`` runs them as a service does;
``served_texts`` are what the originals make of the data; ``composition`` judges what they give together, and ``settlement``
says which of them has to be milder.
"""
