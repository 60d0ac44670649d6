"""Tables and figures from the store. Reads records only, never torch."""
