"""Physics of a service mesh, batched: one numba kernel advances B meshes by k ticks.

Interface (arrays are `[B, S]` by service, `[B, E]` by call, `[B]` by mesh; the first `n_services[b]` columns are real):

    simulation = MeshSimulation(batch_size, max_services, max_calls, max_classes, settings)
    simulation.load(b, mesh)                  # reset environment b with this mesh: initial replicas ready, queues empty
    simulation.change_mesh(b, mesh)           # churn: services matched by name keep pods, queues and counters
    simulation.crash_pods(b, service, count)
    simulation.set_desired(desired)           # int [B, S]; starts and removes pods
    simulation.advance(rps)                   # float32 [B, k]: external requests/s in each of the next k ticks
    window = simulation.scrape()              # telemetry accumulated since the last scrape, then reset
    simulation.order(b)                       # names of the services of b, in column order

Telemetry of a window (a struct of arrays, owned by the simulation, valid until the next scrape); every rate is a mean over the window:
    per service [B, S]: ready, starting, pending, draining, desired (int32, at the end of the window), cpu_millicores (used, all pods),
        memory_mib, rps_in, rps_out, p95_ms, mean_ms, error_share, backlog (calls in system), queue_excess (share of the end-to-end
        latency above idle that this service causes), seconds_since_change
    per call [B, E]: rps, p95_ms, error_share
    per mesh [B]: seconds, external_rps, latency_mean_ms, latency_p50_ms, latency_p95_ms, latency_p99_ms, error_share, violating_seconds,
        replica_seconds (billed: ready + starting + draining), core_seconds (requested), replica_changes
    per mesh, optional: latency_histogram [B, bins] of requests by end-to-end latency (log-spaced `LATENCY_EDGES_MS`)
"""
