"""A small shop on MariaDB and RabbitMQ, with a test suite: what `make demo-gate` guards."""
