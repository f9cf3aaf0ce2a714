"""What `LRRangeOracle` does is done here, one job to a room; none of them knows the oracle."""
