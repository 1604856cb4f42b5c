"""Object stores: where pictures lie. The port, and its adapters for S3, a folder and memory."""
