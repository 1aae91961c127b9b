"""Redis, MongoDB, Kafka and MAX behind the ports."""
