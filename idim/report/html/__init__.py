"""The page: what stands on it, in which words, and its template."""
