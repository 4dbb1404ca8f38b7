"""The distributed engine's own code in a simulated world: driven time, and everything that can go wrong between processes."""
