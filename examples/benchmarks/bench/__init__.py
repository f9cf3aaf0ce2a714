"""Parts that the benchmarks share: data, models, losses, training, and files of what was measured."""
