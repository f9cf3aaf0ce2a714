"""Whether a search with a sweep is sooner at a good result."""
