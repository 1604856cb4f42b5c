"""The read side: searching and looking at what is indexed, over HTTP. It never writes and knows no Kafka."""
