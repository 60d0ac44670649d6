"""History in, next d or verdict out. No torch, no clock, no disk."""
