"""Random input from clients, other programs' records and producers, for every format and door."""
