"""What records say: from runs to points, and from points to an answer. Free of torch."""
