"""What external producers ask for, and what they are told."""
