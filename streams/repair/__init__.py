"""Finding and healing what no message told: sweep, patrol, reconcile, audit; and forgetting a bucket."""
