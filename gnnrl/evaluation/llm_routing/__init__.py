"""LLM routing: policies and routers on the same requests."""
