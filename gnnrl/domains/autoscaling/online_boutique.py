"""The Online Boutique as a mesh: GoogleCloudPlatform/microservices-demo, its endpoints, calls and resources.

Frontend RPCs are sequential. The request classes are the HTTP requests that reach the frontend; a redirect is a request
of its own. The load generator's tasks (weights: index 1, setCurrency 2, browse 10, addToCart 2, viewCart 3, checkout 1;
adding and checking out first GET a product, and adding redirects to GET /cart) make 28 requests per 19 tasks.

CPU costs a call are calibration guesses, good to a factor of two either way; everything else was read in the source.
"""

from __future__ import annotations

import numpy as np

from gnnrl.domains.autoscaling.mesh import Call, Mesh, RequestClass, Service

__all__ = ["distinct_cart_items", "online_boutique"]

PRODUCTS = 9
RECOMMENDATIONS = 5
SIDECAR_MS = 2.65 / np.log(10.0)
"""Mean latency the proxies add to a call, if it is exponential with the published 90th percentile of 2.65 ms."""

ADDS_PER_CHECKOUT = 2.0
"""addToCart tasks per checkout task."""

REQUESTS = {"index": 3, "set_currency": 2, "product": 13, "add_to_cart": 3, "view_cart": 6, "checkout": 1}
"""Frontend requests per 19 tasks of the load generator."""


def distinct_cart_items(*, just_added: bool) -> np.ndarray:
    """Distribution of k, the distinct items in a session's cart; float64 [PRODUCTS + 1].

    A session adds a product drawn uniformly from nine, and each change to its cart is a checkout (which empties it)
    with probability 1 / (1 + ADDS_PER_CHECKOUT). So the adds since the last checkout are geometric, and k is the number
    of distinct values among them.

    Args:
        just_added: the cart right after one more item (GET /cart after POST /cart, and POST /cart/checkout) instead of
        the
            cart a viewCart task finds.
    """
    stop = 1.0 / (1.0 + ADDS_PER_CHECKOUT)
    states = np.arange(PRODUCTS + 1)
    fresh = (PRODUCTS - states) / PRODUCTS
    add = np.diag(1.0 - fresh) + np.diag(fresh[:-1], k=1)
    # Sum over n of stop (1 - stop)^n e_0 add^n.
    found: np.ndarray = stop * np.linalg.solve(np.eye(PRODUCTS + 1) - (1.0 - stop) * add.T, np.eye(PRODUCTS + 1)[0])
    return add.T @ found if just_added else found


def _service(name: str, cpu_ms: float, **changes: object) -> Service:
    return Service(name=name, cpu_ms=cpu_ms, base_latency_ms=float(SIDECAR_MS), **changes)  # type: ignore[arg-type]


def _services() -> tuple[Service, ...]:
    return (
        _service("frontend", 6.0, startup_seconds=10.0),
        _service("productcatalogservice", 0.8),
        _service("currencyservice", 1.2),
        _service("cartservice", 2.5, cpu_request_millicores=200.0, cpu_limit_millicores=300.0, startup_seconds=15.0),
        _service(
            "redis-cart",
            0.2,
            cpu_request_millicores=70.0,
            cpu_limit_millicores=125.0,
            memory_request_mib=200.0,
            memory_limit_mib=256.0,
            stateful=True,
        ),
        _service("recommendationservice", 6.0, memory_request_mib=220.0, memory_limit_mib=450.0),
        _service(
            "adservice",
            2.5,
            cpu_request_millicores=200.0,
            cpu_limit_millicores=300.0,
            memory_request_mib=180.0,
            memory_limit_mib=300.0,
            startup_seconds=20.0,
            timeout_ms=100.0,
            fatal=False,
        ),
        _service("shippingservice", 2.0),
        _service("checkoutservice", 15.0),
        _service("paymentservice", 5.0),
        _service("emailservice", 8.0),
    )


def _class_calls() -> dict[str, dict[tuple[str, str], float]]:
    """Calls per invocation of the source, by request class."""
    k = np.arange(PRODUCTS + 1)
    found, added = distinct_cart_items(just_added=False), distinct_cart_items(just_added=True)
    # Half of the GET /cart are viewCart tasks (3 per 19 tasks), half follow a POST /cart (2 + 1).
    viewed = 0.5 * (found + added)
    items_viewed, items_bought = float(viewed @ k), float(added @ k)
    # The recommendation service answers with at most five products that are not in the cart; the frontend looks each of
    # them up.
    recommended = float(viewed @ np.minimum(RECOMMENDATIONS, PRODUCTS - k))
    front, catalog, currency, cart = "frontend", "productcatalogservice", "currencyservice", "cartservice"
    recommend, ad, ship, checkout = "recommendationservice", "adservice", "shippingservice", "checkoutservice"
    redis = {(cart, "redis-cart"): 1.0}
    suggest = {(front, recommend): 1.0, (recommend, catalog): 1.0}
    return {
        "index": {(front, currency): 10.0, (front, catalog): 1.0, (front, cart): 1.0, (front, ad): 1.0, **redis},
        "set_currency": {},
        "product": {
            (front, catalog): 1.0 + RECOMMENDATIONS,
            (front, currency): 2.0,
            (front, cart): 1.0,
            (front, ad): 1.0,
            **redis,
            **suggest,
        },
        # AddItem reads and writes the cart.
        "add_to_cart": {(front, catalog): 1.0, (front, cart): 1.0, (cart, "redis-cart"): 2.0},
        "view_cart": {
            (front, currency): 2.0 + items_viewed,
            (front, cart): 1.0,
            (front, catalog): recommended + items_viewed,
            (front, ship): 1.0,
            **redis,
            **suggest,
        },
        "checkout": {
            (front, checkout): 1.0,
            (front, catalog): float(RECOMMENDATIONS),
            (front, currency): 1.0,
            (checkout, cart): 2.0,
            (checkout, catalog): items_bought,
            (checkout, currency): items_bought + 1.0,
            (checkout, ship): 2.0,
            (checkout, "paymentservice"): 1.0,
            (checkout, "emailservice"): 1.0,
            **redis,
            **suggest,
        },
    }


def online_boutique() -> Mesh:
    """The nominal mesh: 11 services, 16 calls, 6 request classes, SLO left to its idle P95."""
    by_class = _class_calls()
    pairs = list(dict.fromkeys(pair for calls in by_class.values() for pair in calls))
    total = sum(REQUESTS.values())
    return Mesh(
        name="online_boutique",
        services=_services(),
        calls=tuple(Call(source=source, target=target) for source, target in pairs),
        classes=tuple(
            RequestClass(
                name=name,
                root="frontend",
                weight=REQUESTS[name] / total,
                calls=tuple(calls.get(pair, 0.0) for pair in pairs),
            )
            for name, calls in by_class.items()
        ),
    )
