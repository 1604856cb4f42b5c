"""What is computed of pictures on demand, and kept for a while."""
