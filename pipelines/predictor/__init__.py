"""A running predictor, for people: its process on this machine, a client, a page in a browser."""
