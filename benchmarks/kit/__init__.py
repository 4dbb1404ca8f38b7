"""What the kit costs: the same work on the kit and on bare parts, one after the other on the same machine."""
