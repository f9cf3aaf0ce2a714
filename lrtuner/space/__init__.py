"""One hyperparameter of KerasTuner's: found, read, narrowed to a range of learning rates."""
