"""The sandbox answers as a Kubernetes API server does: `api_server_answers.py` row by row, and what the answers hold."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.live.api_server_answers import ANSWERS, THERE, Answer
from tests.live.fake_cluster import Cluster

KEPT = ("deployments", "replicasets", "pods", "namespaces", "nodes")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    started = Cluster()
    yield started
    started.close()


@pytest.fixture
def fresh(cluster: Cluster) -> Cluster:
    """The cluster with the objects that the rows find, and no others."""
    store = cluster.api.store
    for storage in list(store._objects):
        for item in store.objects(storage):
            if storage not in KEPT:
                store.remove(storage, *item.key)
    cluster.world.set_replicas("frontend", 2)
    for collection, body in THERE:
        assert cluster.call("POST", collection, body).status_code == 201
    return cluster


@pytest.mark.parametrize("row", ANSWERS, ids=str)
def test_the_answer_is_the_api_servers(fresh: Cluster, row: Answer) -> None:
    headers = {"Content-Type": row.kind, **({"Accept": row.accept} if row.accept else {})}
    data = row.body if row.body is None or isinstance(row.body, bytes) else json.dumps(row.body)
    url = fresh.api.url + row.path
    answer = fresh.session.request(row.method, url, data=data, params=row.params, headers=headers, timeout=10.0)
    code, reason = row.expected
    assert answer.status_code == code, answer.text
    if code >= 400 and answer.headers["Content-Type"] == "application/json" and row.method != "HEAD":
        status = answer.json()
        assert (status["kind"], status["code"], status.get("reason", "")) == ("Status", code, reason), answer.text
