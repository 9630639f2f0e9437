"""Sessions as other processors run them: what this machine can be made to behave as, and a session in such a process."""
