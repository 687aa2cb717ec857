"""What stands before the routes, in the order in which ``app`` names it; ``proxy`` stands in Serve's own proxy."""
