"""A real Kubernetes cluster: reading it, writing `/scale`, and the guardrails in between.

The only room that imports the kubernetes client. Knows neither torch nor a policy.
"""
