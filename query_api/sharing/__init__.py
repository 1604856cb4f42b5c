"""Work that many clients want is done once: batches, shared reads, bounded pools."""
