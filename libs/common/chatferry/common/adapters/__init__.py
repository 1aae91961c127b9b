"""The outside world, one library a module: MongoDB (motor), Redis, Kafka, HTTP."""
