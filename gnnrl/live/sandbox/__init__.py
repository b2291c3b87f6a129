"""A cluster in one process on loopback, backed by the mesh simulator: Kubernetes API, Kiali and Prometheus over real sockets."""
