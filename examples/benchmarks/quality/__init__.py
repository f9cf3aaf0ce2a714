"""What a learning-rate range is worth: tasks, measuring, the rules of others, scoring."""
