"""Vector indexes: nearest pictures. The port, and its adapters for Milvus and memory."""
