"""What the scripts that measure have in common. The standard library only."""
