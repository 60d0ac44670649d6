"""The values that pass between rooms: frozen, free of torch, each with its form in JSON."""
