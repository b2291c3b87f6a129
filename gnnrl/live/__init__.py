"""What runs beside a cluster: the control loop, the sandbox cluster, the KEDA scaler, metrics and logs."""
