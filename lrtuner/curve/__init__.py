"""The curve of a sweep and the range that is read off it. Nothing in here knows Keras or KerasTuner."""
