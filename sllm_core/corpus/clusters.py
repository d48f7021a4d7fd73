"""Clusters of near copies that stay what they are, and the one copy of each that is kept.

Documents are distinct texts, numbered oldest first. A cluster is named after the text hash of its
oldest member and lies on one side of the split. Files that are added later must not change that: a
model that is trained on would be judged by texts it has seen.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Kinds = NDArray[np.int8]
Shares = NDArray[np.float64]
Mask = NDArray[np.bool_]
Names = NDArray[np.void]  # V16: hashes of texts

NO_SIDE, TRAIN, VAL = 0, 1, 2
NONE, EXACT, NEAR = 0, 1, 2
N_TURNS = 16  # keepers looked for in one cluster: a chain of copies may need several


def union(pairs: Ints, n: int) -> Ints:
    """Connected components of ``n`` documents: the lowest number in each one's component."""
    labels = np.arange(n)
    one, other = np.asarray(pairs, np.int64).reshape(-1, 2).T
    while True:
        low, high = labels[one], labels[other]
        low, high = np.minimum(low, high), np.maximum(low, high)
        is_apart = low != high
        if not is_apart.any():
            return labels
        one, other = one[is_apart], other[is_apart]
        np.minimum.at(labels, high[is_apart], low[is_apart])  # both are roots: the higher hooks on
        while not np.array_equal(shorter := labels[labels], labels):
            labels = shorter


@dataclass(frozen=True)
class Assignment:
    """The cluster of each document, and who must stay out of both sides."""

    clusters: Names
    held: Mask  # reason `would-leak`
    rival: Ints  # for a held one: a near copy of it on the other side; else -1


def assign(
    hashes: Names, pairs: Ints, similarity: Shares, clusters: Names, sides: Kinds
) -> Assignment:
    """Give new documents a cluster and leave the known ones where they are.

    Afterwards the two documents of each given pair lie in clusters of one side, or one of the two
    is held back:

    - A cluster with a side keeps its name and its members for ever. One without a side was never
      trained on: near copies may still connect it with another.
    - A document without a side that is like documents on both sides is held back.
    - The others join along the most similar pairs first. A pair that would connect the two sides
      does not; of its two documents the one without a side before is held back, else the younger.
    - New documents that no known one reaches are named after the oldest of them.

    Documents held back earlier come as new ones: they are free when their rival is gone.

    Args:
        hashes: text hashes, oldest document first.
        pairs: verified near copies.
        similarity: of each pair.
        clusters: the stored name of each known document's cluster, zeros for a new one.
        sides: TRAIN or VAL for a document whose cluster has a side.
    """
    pairs = np.sort(np.asarray(pairs, np.int64).reshape(-1, 2), axis=1)
    texts, stored = hashes.view("S16"), clusters.view("S16")  # numpy compares these twice as fast
    is_known = stored != b""
    nodes = _nodes(texts, stored, is_known)
    node_sides = np.zeros(len(hashes), np.int8)
    np.maximum.at(node_sides, nodes, sides)
    assert not np.any((sides > 0) & (node_sides[nodes] != sides)), "one cluster on two sides"

    rival = _between(pairs, sides)
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0], -similarity))]
    pairs = pairs[(rival[pairs] < 0).all(axis=1)]
    roots = _join(nodes[pairs], nodes, node_sides, is_known)[nodes]
    _hold(pairs, node_sides[roots], sides, rival)
    is_held = rival >= 0
    names = np.where(is_known, stored, texts)[roots]
    names = np.where(is_held & (sides == NO_SIDE), texts, names)
    return Assignment(names.view(hashes.dtype), is_held, rival)


def _nodes(texts: Names, stored: Names, is_known: Mask) -> Ints:
    """The document that stands for each one's known cluster: its oldest; itself for a new one.

    A new document after which a cluster is named (it was held back, or removed and put back)
    belongs to that cluster.
    """
    nodes = np.arange(len(texts))
    known = np.flatnonzero(is_known)
    names, firsts, numbers = np.unique(stored[known], return_index=True, return_inverse=True)
    oldest = known[firsts]
    nodes[known] = oldest[numbers]
    if len(names):
        at = np.searchsorted(names, texts).clip(max=len(names) - 1)
        back = np.flatnonzero(~is_known & (names[at] == texts))
        nodes[back] = oldest[at[back]]
    return nodes


def _between(pairs: Ints, sides: Kinds) -> Ints:
    """For each document without a side that is like some on both: one of those on validation."""
    rival = np.full(len(sides), -1)
    one, other = np.concatenate((pairs, pairs[:, ::-1])).T
    one, other = one[sides[one] == NO_SIDE], other[sides[one] == NO_SIDE]
    is_like_train = np.zeros(len(sides), np.bool_)
    is_like_train[one[sides[other] == TRAIN]] = True
    both = is_like_train[one] & (sides[other] == VAL)
    rival[one[both]] = other[both]
    return rival


def _join(edges: Ints, nodes: Ints, node_sides: Kinds, is_known: Mask) -> Ints:
    """The node that names each node's cluster; ``edges`` come by falling similarity.

    A cluster is named by its node with a side, else by its known one, else by the oldest. Where
    an edge would connect two nodes with a side, it is left out: even on one side each keeps its
    name.
    """
    n = len(nodes)
    is_sided = node_sides > 0
    standing = (2 - is_known.astype(np.int64) - is_sided) * n + np.arange(n)  # lower names higher
    labels = union(edges, n)
    heads = np.flatnonzero(nodes == np.arange(n))
    best = standing.copy()
    np.minimum.at(best, labels[heads], standing[heads])
    roots = best[labels] % n
    n_sided = np.bincount(labels[heads[is_sided[heads]]], minlength=n)
    parents = {int(i): int(i) for i in np.unique(edges[n_sided[labels[edges[:, 0]]] > 1])}

    def root(i: int) -> int:
        while parents[i] != i:
            parents[i] = i = parents[parents[i]]
        return i

    for one, other in edges[np.isin(edges[:, 0], list(parents))].tolist():
        one, other = root(one), root(other)
        if one != other and not (is_sided[one] and is_sided[other]):
            if standing[one] > standing[other]:
                one, other = other, one
            parents[other] = one
    for i in parents:
        roots[i] = root(i)
    return roots


def _hold(pairs: Ints, found: Kinds, sides: Kinds, rival: Ints) -> None:
    """Hold back one document of each pair that lies on two sides, in place.

    Args:
        pairs: lower number first.
        found: the side where each document's cluster lies now.
        sides: the side it had before.
        rival: of each document held back, the other one of its pair.
    """
    one, other = pairs.T
    across = pairs[(found[one] != found[other]) & (rival[one] < 0) & (rival[other] < 0)]
    is_clear = (sides[across] == NO_SIDE).sum(axis=1) == 1  # no choice there: these first
    for older, younger in np.concatenate((across[is_clear], across[~is_clear])).tolist():
        if rival[older] < 0 and rival[younger] < 0:
            is_older_free = sides[older] == NO_SIDE and sides[younger] != NO_SIDE
            out, stays = (older, younger) if is_older_free else (younger, older)
            rival[out] = stays


@dataclass(frozen=True)
class Twins:
    """What each file is a copy of."""

    kind: Kinds  # NONE, EXACT or NEAR
    duplicate_of: Ints  # number of the file that is kept, or -1
    similarity: Shares  # true Jaccard with that file; 1 for an exact copy, 0 without one


def ranks(scores: NDArray[np.int64], path_lengths: Ints) -> Ints:
    """Who is kept first (0): the best score, then the shortest path, then the oldest."""
    found = np.empty(len(scores), np.int64)
    order = np.lexsort((np.arange(len(scores)), path_lengths, -np.asarray(scores, np.int64)))
    found[order] = np.arange(len(scores))
    return found


def keepers(
    texts: Ints,
    labels: Ints,
    ranks: Ints,
    threshold: float,
    similar: Callable[[Ints], Shares],
    *,
    pairs: Ints,
    similarity: Shares,
) -> Twins:
    """Name the copies to keep, and for every other file the one that it is a copy of.

    Of equal texts the best file is kept; the others are exact copies of it. Of each cluster the
    best of these is kept, and those as similar to it as the threshold are its near copies. What is
    left of the cluster (a is like b, b like c, but c not like a) is looked at in the same way.
    So nothing is called a copy of a text that it is less like than the threshold.

    Args:
        texts: the number of the distinct text of each file.
        labels: an integer for each distinct text that says in which cluster it is.
        ranks: of each file, as of `ranks`.
        threshold: of the similarity.
        similar: asked for the similarity of pairs of texts that is not known yet.
        pairs: known pairs of texts.
        similarity: of each known pair.
    """
    n_files, n_texts = len(texts), len(labels)
    twins = Twins(np.zeros(n_files, np.int8), np.full(n_files, -1), np.zeros(n_files))
    order = np.argsort(ranks)
    present, firsts = np.unique(texts[order], return_index=True)
    best = np.full(n_texts, -1)
    best[present] = order[firsts]
    exact = np.flatnonzero(best[texts] != np.arange(n_files))
    twins.kind[exact], twins.duplicate_of[exact] = EXACT, best[texts[exact]]
    twins.similarity[exact] = 1
    known = _Known(pairs, similarity, n_texts, similar)
    left = present[np.lexsort((ranks[best[present]], labels[present]))]
    for _ in range(N_TURNS):
        is_first = np.append(True, labels[left[1:]] != labels[left[:-1]])[: len(left)]
        keeper = left[is_first][np.cumsum(is_first) - 1][~is_first]
        left = left[~is_first]
        if not len(left):
            break
        alike = known(np.stack((keeper, left), axis=1))
        near = alike >= threshold
        files = best[left[near]]
        twins.kind[files], twins.duplicate_of[files] = NEAR, best[keeper[near]]
        twins.similarity[files] = alike[near]
        left = left[~near]
    return twins


class _Known:
    """Similarity of pairs that is looked up first and only then worked out."""

    def __init__(
        self, pairs: Ints, similarity: Shares, n: int, similar: Callable[[Ints], Shares]
    ) -> None:
        self._n = n
        self._similar = similar
        keys = self._keys(np.asarray(pairs, np.int64).reshape(-1, 2))
        order = np.argsort(keys)
        self._known, self._values = keys[order], np.asarray(similarity)[order]

    def _keys(self, pairs: Ints) -> Ints:
        return pairs.min(axis=1) * self._n + pairs.max(axis=1)

    def __call__(self, pairs: Ints) -> Shares:
        keys = self._keys(pairs)
        at = np.searchsorted(self._known, keys)
        is_known = np.zeros(len(keys), np.bool_)
        if len(self._known):
            at = at.clip(max=len(self._known) - 1)
            is_known = self._known[at] == keys
        found = np.zeros(len(pairs))
        found[is_known] = self._values[at[is_known]]
        if not is_known.all():
            found[~is_known] = self._similar(pairs[~is_known])
        return found
