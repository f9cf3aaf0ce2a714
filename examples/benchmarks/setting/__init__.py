"""Which settings of a search need a learning-rate range of their own."""
