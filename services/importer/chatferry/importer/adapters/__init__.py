"""The outside: MongoDB, Kafka and the target."""
