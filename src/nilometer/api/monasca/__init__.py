"""Monasca's API v2.0 over our tables: what its clients, dashboards and scripts ask for."""
