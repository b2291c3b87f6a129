"""The decision as a KEDA external scaler: KEDA and HPA set the replicas instead of the loop. Needs the extra `keda`."""
