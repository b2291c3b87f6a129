"""The parts of the sandbox's Kubernetes API: objects, their storage, and how the API server writes them."""
