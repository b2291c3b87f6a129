"""Graphs whose nodes come and go, as fixed-shape Gymnasium observations. Never imports torch."""

from graph_space.checks import ObservationError, check_observation
from graph_space.codec import EncodeInfo, GraphCodec, PaddedEdges, empty_observation, observation_to_networkx
from graph_space.config import DynamicGraphConfig
from graph_space.schema import (
    AUTOSCALING,
    MOVES,
    Feature,
    GraphObservation,
    GraphSchema,
    autoscaling_schema,
    llm_routing_schema,
    queue_routing_schema,
)
from graph_space.slots import Assignment, CapacityError, SlotTable
from graph_space.space import DynamicGraphSpace
from graph_space.topology import Topology, TopologyError, features_from_networkx

__all__ = [
    "AUTOSCALING",
    "MOVES",
    "Assignment",
    "CapacityError",
    "DynamicGraphConfig",
    "DynamicGraphSpace",
    "EncodeInfo",
    "Feature",
    "GraphCodec",
    "GraphObservation",
    "GraphSchema",
    "ObservationError",
    "PaddedEdges",
    "SlotTable",
    "Topology",
    "TopologyError",
    "autoscaling_schema",
    "check_observation",
    "empty_observation",
    "features_from_networkx",
    "llm_routing_schema",
    "observation_to_networkx",
    "queue_routing_schema",
]
