"""The ports on MongoDB, HTTP and Kafka."""
