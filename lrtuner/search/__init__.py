"""What a search does about its sweeps: the way of one is at the top of `lrtuner.oracle`."""
