"""The sweep of one Keras model. Nothing in here knows KerasTuner."""
