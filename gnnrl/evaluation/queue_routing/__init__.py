"""Routing policies and the routers people use, on the same requests."""
