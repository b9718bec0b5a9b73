"""Two small services to measure: an order API (WSGI) that calls a stock service (ASGI)."""
