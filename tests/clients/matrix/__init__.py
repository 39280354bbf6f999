"""The matrix of real clients and tools against a broker: see `tests/clients/run`."""
