"""One update of PPO written down again: targets by a walk along every node, the loss term by term, Adam by its formula.

Nothing here is shared with the package but the network's own forward pass.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

import numpy as np
import torch

from encoders.state import EncoderState
from gnnrl.agents import PPO_GNN
from gnnrl.agents.policy_model import PolicyModel


@dataclass
class Rollout:
    """A rollout as it was before its update, and the values of the observation after it."""

    obs: dict[str, np.ndarray]
    """Rows 0..T, the one after the rollout the last."""
    starts: np.ndarray
    """[T + 1, B]."""
    live: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    reward: np.ndarray
    """[T, B, N] under credit `node`, else [T, B, 1]."""
    action: np.ndarray
    log_prob: np.ndarray
    value: np.ndarray
    """[T + 1, B, N] or [T + 1, B, 1]."""
    memory: np.ndarray
    age: np.ndarray
    heat: np.ndarray
    """[T, B]."""
    chunk: int

    @property
    def steps(self):
        return len(self.live)

    def nodes(self, t, b):
        return np.flatnonzero(self.obs["node_mask"][t, b])

    def owners(self, t, b):
        """Who has a value and a reward of its own: the nodes, or the one graph."""
        return self.nodes(t, b) if self.value.shape[2] > 1 else np.array([0])

    def next_owner(self, t, b, s):
        """Where owner `s` of row t is found in row t + 1; None = nowhere."""
        if self.value.shape[2] == 1:
            return 0
        found = [n for n in self.nodes(t + 1, b) if self.obs["prev_slot"][t + 1, b, n] == s]
        return found[0] if found else None


def rollout_of(agent: PPO_GNN, obs, state) -> Rollout:
    """What an agent has stored, with the values of `obs`, the observation after it, at its weights."""
    recorder = agent.recorder
    storage = recorder.storage
    steps, envs, slots = storage.obs["node_mask"][:-1].shape
    kept = {key: array.copy() for key, array in storage.obs.items()}
    edges = kept["edge_mask"].shape[-1]
    for key, value in obs.items():
        if key in ("edge_index", "edge_mask", "edges"):
            # Edges are stored up to the largest count seen; the last observation may have more of them.
            count = max(edges, int(obs["edge_mask"].sum(-1).max()))
            axis = -2 if key == "edges" else -1
            pad = [(0, 0)] * kept[key].ndim
            pad[axis] = (0, count - edges)
            kept[key] = np.pad(kept[key], pad)
            value = value.take(np.arange(count), axis)
        kept[key][-1] = value
    per_node = agent.config.credit == "node"
    width = slots if per_node else 1
    value = np.zeros((steps + 1, envs, width))
    value[:-1] = storage.value[:-1].reshape(steps, envs, width)
    starts = np.concatenate([storage.episode_start[:-1], recorder.episode_start[None]])
    for b in range(envs):
        with torch.no_grad():
            _, last = judge(agent, agent.model, kept, starts, slice(steps, steps + 1), b, state, b)
        value[steps, b] = [float(last[0].get(s, torch.zeros(()))) for s in range(width)]
    return Rollout(
        obs=kept,
        starts=starts,
        live=storage.loss_mask.copy(),
        terminated=storage.terminated.copy(),
        truncated=storage.truncated.copy(),
        reward=(storage.node_reward if per_node else storage.reward[..., None]).astype(np.float64),
        action=storage.action.copy(),
        log_prob=storage.log_prob.copy(),
        value=value,
        memory=storage.memory.copy(),
        age=storage.age_seconds.copy(),
        heat=np.ones((steps, envs)) if storage.temperature is None else storage.temperature.copy(),
        chunk=storage.chunk_length,
    )


def judge(agent: PPO_GNN, model: PolicyModel, obs, starts, rows: slice, b: int, state, place: int):
    """Logits {slot: [K]} and values {owner: number} of each of some rows of environment b, one environment alone."""
    part = {key: value[rows, b : b + 1] for key, value in obs.items()}
    sequence = agent.scaler.sequence(part, starts[rows, b : b + 1])
    alone = EncoderState(state.memory[place : place + 1], state.age_seconds[place : place + 1])
    judged = model(sequence, alone)
    slots = part["node_mask"].shape[-1]
    logits = [{} for _ in range(rows.stop - rows.start)]
    values = [{} for _ in logits]
    for row, where in enumerate(sequence.flat_slot.tolist()):
        step, slot = divmod(where, slots)
        logits[step][slot] = judged.logits[row]
        if agent.config.credit == "node":
            values[step][slot] = judged.value[row]
    if agent.config.credit == "graph":
        values = [{0: judged.value[step]} for step in range(len(values))]
    return logits, values


def returns_so_far(rollout: Rollout, gamma: float, carried: dict) -> list[float]:
    """Discounted sums of every live owner's past rewards; `carried` {(b, owner): sum} goes from rollout to rollout."""
    found = []
    for t in range(rollout.steps):
        now = {}
        for b in range(rollout.live.shape[1]):
            for s in rollout.owners(t, b):
                before = 0 if rollout.value.shape[2] == 1 else int(rollout.obs["prev_slot"][t, b, s])
                past = 0.0 if rollout.starts[t, b] or before < 0 else carried.get((b, before), 0.0)
                now[b, int(s)] = gamma * past + rollout.reward[t, b, s]
                if rollout.live[t, b]:
                    found.append(now[b, int(s)])
        carried.clear()
        carried.update(now)
    return found


def targets(rollout: Rollout, gamma: float, lam: float, unit: float):
    """(advantage, target) {(t, b, owner): number} of live rows: the discounted errors along the owner's path, summed."""
    advantage = {}
    for t, b in np.argwhere(rollout.live).tolist():
        for s in rollout.owners(t, b).tolist():
            total, weight, u, now = 0.0, 1.0, t, s
            while True:
                ended = rollout.terminated[u, b]
                after = None if ended else rollout.next_owner(u, b, now)
                bootstrap = 0.0 if after is None else rollout.value[u + 1, b, after]
                total += weight * (rollout.reward[u, b, now] / unit + gamma * bootstrap - rollout.value[u, b, now])
                if after is None or rollout.truncated[u, b] or u + 1 == rollout.steps:
                    break
                weight, u, now = weight * gamma * lam, u + 1, after
            advantage[t, b, s] = total
    return advantage, {place: found + rollout.value[place] for place, found in advantage.items()}


def decisions(agent: PPO_GNN, rollout: Rollout, advantage: dict) -> dict:
    """{(t, b, slot or None): advantage}: of each node's move (`joint`), or of the graph's one choice (`select`)."""
    found = {}
    for t, b in np.argwhere(rollout.live).tolist():
        owners = rollout.owners(t, b).tolist()
        if agent.mode == "select":
            found[t, b, None] = sum(advantage[t, b, s] for s in owners)
        else:
            shared = len(rollout.value[t, b]) == 1
            for s in rollout.nodes(t, b).tolist():
                found[t, b, s] = advantage[t, b, 0 if shared else s]
    if agent.config.normalise_advantage:
        # Standardised over live graphs or nodes once each: a graph's advantage counts once, however many nodes share it.
        once = found if agent.mode == "select" or rollout.value.shape[2] > 1 else advantage
        values = np.array(list(once.values()))
        found = {place: (value - values.mean()) / (values.std() + 1e-8) for place, value in found.items()}
    return found


def log_policy(rollout: Rollout, mode: str, logits: list[dict], first: int, b: int) -> list:
    """Log-probabilities of the legal moves: a dict {(slot, move): log p} per decision of each row."""
    found = []
    for step, by_slot in enumerate(logits):
        t = first + step
        groups = [[s] for s in by_slot] if mode == "joint" else [list(by_slot)]
        row = {}
        for group in groups:
            legal = [(s, k) for s in group for k in np.flatnonzero(rollout.obs["action_mask"][t, b, s]).tolist()]
            if not legal:
                continue
            scores = torch.stack([by_slot[s][k] for s, k in legal]) / float(rollout.heat[t, b])
            row[group[0] if mode == "joint" else None] = dict(zip(legal, torch.log_softmax(scores, 0), strict=True))
        found.append(row)
    return found


@dataclass
class Terms:
    """Weighted sums of one minibatch that is the whole rollout."""

    policy_loss: object = 0.0
    entropy: object = 0.0
    approx_kl: object = 0.0
    clip_fraction: object = 0.0
    clone_kl: object = 0.0
    value_loss: object = 0.0


@dataclass
class Plain:
    """What the loss reads, beside the network."""

    agent: PPO_GNN
    rollout: Rollout
    advantage: dict
    target: dict
    value_clip: float
    reference: dict = field(default_factory=dict)
    """{(t, b, decision): {(slot, move): log p of the clone}}."""


def loss_terms(plain: Plain, states: list[EncoderState]) -> Terms:
    """The terms at the agent's weights, from the given states at the chunks' starts."""
    agent, rollout, config = plain.agent, plain.rollout, plain.agent.config
    moves, terms = agent.num_moves, Terms()
    each = 1.0 / rollout.live.sum()
    for chunk, state in enumerate(states):
        rows = slice(chunk * rollout.chunk, (chunk + 1) * rollout.chunk)
        for b in range(rollout.live.shape[1]):
            logits, values = judge(agent, agent.model, rollout.obs, rollout.starts, rows, b, state, b)
            policies = log_policy(rollout, agent.mode, logits, rows.start, b)
            for step, (policy, value) in enumerate(zip(policies, values, strict=True)):
                t = rows.start + step
                if not rollout.live[t, b]:
                    continue
                for place, log_p in policy.items():
                    weight = each / (len(policy) if agent.mode == "joint" else 1)
                    if agent.mode == "joint":
                        chosen = (place, int(rollout.action[t, b, place]))
                        old = float(rollout.log_prob[t, b, place])
                    else:
                        chosen, old = divmod(int(rollout.action[t, b]), moves), float(rollout.log_prob[t, b])
                    ratio, gain = (log_p[chosen] - old).exp(), plain.advantage[t, b, place]
                    held = min(max(float(ratio), 1 - config.clip), 1 + config.clip)
                    better = ratio * gain if float(ratio) * gain <= held * gain else held * gain
                    terms.policy_loss = terms.policy_loss - weight * better
                    terms.entropy = terms.entropy - weight * sum(p.exp() * p for p in log_p.values())
                    terms.approx_kl += weight * float(ratio - 1 - (log_p[chosen] - old))
                    terms.clip_fraction += weight * float(abs(ratio - 1) > config.clip)
                    if plain.reference:
                        clone = plain.reference[t, b, place]
                        distance = sum(p.exp() * (p - float(clone[move])) for move, p in log_p.items())
                        terms.clone_kl = terms.clone_kl + weight * distance
                for owner, v in value.items():
                    weight, old = each / len(value), float(rollout.value[t, b, owner])
                    goal = plain.target[t, b, owner]
                    error = (v - goal) ** 2
                    if plain.value_clip > 0:
                        clipped = (old + (v - old).clamp(-plain.value_clip, plain.value_clip) - goal) ** 2
                        error = torch.maximum(error, clipped)
                    terms.value_loss = terms.value_loss + 0.5 * weight * error
    return terms


def clone_log_probs(agent: PPO_GNN, rollout: Rollout, state: EncoderState) -> dict:
    """What the clone thinks of every live decision, its memory running on from `state` over the whole rollout."""
    found = {}
    rows = slice(0, rollout.steps)
    for b in range(rollout.live.shape[1]):
        logits, _ = judge(agent, agent.clone.model, rollout.obs, rollout.starts, rows, b, state, b)
        for t, policy in enumerate(log_policy(rollout, agent.mode, logits, 0, b)):
            if rollout.live[t, b]:
                found |= {(t, b, place): log_p for place, log_p in policy.items()}
    return found


def stored_states(rollout: Rollout) -> list[EncoderState]:
    """As the rollout noted them at the starts of chunks."""
    return [
        EncoderState(torch.from_numpy(memory), torch.from_numpy(age))
        for memory, age in zip(rollout.memory, rollout.age, strict=True)
    ]


@torch.no_grad()
def replayed_states(agent: PPO_GNN, rollout: Rollout) -> list[EncoderState]:
    """As the agent's weights give them from the first one on."""
    states = [stored_states(rollout)[0]]
    for chunk in range(1, rollout.steps // rollout.chunk):
        rows = slice(0, chunk * rollout.chunk)
        sequence = agent.scaler.sequence({key: value[rows] for key, value in rollout.obs.items()}, rollout.starts[rows])
        states.append(agent.model(sequence, states[0]).state)
    return states


@dataclass
class PlainAdam:
    """Adam (Kingma and Ba 2015) with beta 0.9 and 0.999, epsilon 1e-5 beside the root, after a clip by the global norm."""

    most: float
    count: int = 0
    mean: list = field(default_factory=list)
    square: list = field(default_factory=list)

    def step(self, parameters, gradients, step_size):
        gradients = [g.double() for g in gradients]
        norm = float(sum((g**2).sum() for g in gradients)) ** 0.5
        gradients = [g * min(1.0, self.most / norm) for g in gradients]
        if not self.mean:
            self.mean = [torch.zeros_like(g) for g in gradients]
            self.square = copy.deepcopy(self.mean)
        self.count += 1
        found = []
        for i, (p, g) in enumerate(zip(parameters, gradients, strict=True)):
            self.mean[i] = 0.9 * self.mean[i] + 0.1 * g
            self.square[i] = 0.999 * self.square[i] + 0.001 * g**2
            m, v = self.mean[i] / (1 - 0.9**self.count), self.square[i] / (1 - 0.999**self.count)
            found.append(p.double() - step_size * m / (v.sqrt() + 1e-5))
        return found, norm
