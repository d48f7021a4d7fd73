"""Whatever is added later: nobody known moves, and no near copies lie on two sides of the split."""

import itertools

import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from sllm_core.corpus.clusters import (
    EXACT,
    NEAR,
    NO_SIDE,
    NONE,
    TRAIN,
    VAL,
    Assignment,
    Twins,
    assign,
    keepers,
    ranks,
    union,
)

NEW = bytes(16)


def name(i: int) -> bytes:
    """The text hash of document i; some end in zeros, which numpy's S16 would cut off."""
    return xxhash.xxh3_64_digest(bytes([i])) + bytes([i] if i % 3 else [0]) * 8


def names(values: list[bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(values), "V16")


def run(
    n: int, pairs: dict[tuple[int, int], float], clusters: list[bytes], sides: list[int]
) -> Assignment:
    return assign(
        names([name(i) for i in range(n)]),
        np.array(list(pairs), np.int64).reshape(-1, 2),
        np.array(list(pairs.values())),
        names(clusters),
        np.array(sides, np.int8),
    )


def listed(found: Assignment) -> list[bytes]:
    return [value.tobytes() for value in found.clusters]


@given(st.integers(1, 12), st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=20))
def test_union_names_each_component_after_its_lowest(n: int, pairs: list[tuple[int, int]]) -> None:
    pairs = [(i % n, j % n) for i, j in pairs]
    groups = [{i} for i in range(n)]
    for i, j in pairs:
        if groups[i] is not groups[j]:
            groups[i] |= groups[j]
            for member in groups[j]:
                groups[member] = groups[i]
    assert union(np.array(pairs).reshape(-1, 2), n).tolist() == [min(group) for group in groups]


@pytest.mark.parametrize("order", ["falling", "rising", "random"])
def test_union_of_a_long_chain_ends(order: str) -> None:
    n = 100_000
    chain = np.stack((np.arange(n - 1), np.arange(1, n)), axis=1)
    numbers = {
        "falling": np.arange(n)[::-1],
        "rising": np.arange(n),
        "random": np.random.default_rng(0).permutation(n),
    }
    assert not union(numbers[order][chain], n).any()


def test_new_copies_form_a_cluster_named_after_the_oldest() -> None:
    found = run(5, {(3, 1): 0.95, (3, 4): 0.9}, [NEW] * 5, [NO_SIDE] * 5)
    assert listed(found) == [name(i) for i in (0, 1, 2, 1, 1)]
    assert not found.held.any()
    assert (found.rival == -1).all()


@pytest.mark.parametrize("side", [NO_SIDE, VAL])
def test_a_new_copy_joins_the_known_cluster_even_if_its_file_is_older(side: int) -> None:
    found = run(2, {(0, 1): 0.95}, [NEW, name(9)], [NO_SIDE, side])
    assert listed(found) == [name(9), name(9)]


@pytest.mark.parametrize(("first", "second"), [(0.91, 0.95), (0.95, 0.91)])
def test_between_two_clusters_of_one_side_the_more_similar_gets_it(
    first: float, second: float
) -> None:
    found = run(
        3, {(0, 2): first, (1, 2): second}, [name(0), name(1), NEW], [TRAIN, TRAIN, NO_SIDE]
    )
    assert listed(found) == [name(0), name(1), name(0 if first > second else 1)]
    assert not found.held.any()


def test_a_copy_of_both_sides_is_held_back_and_says_of_what() -> None:
    found = run(3, {(0, 2): 0.99, (1, 2): 0.91}, [name(0), name(1), NEW], [TRAIN, VAL, NO_SIDE])
    assert found.held.tolist() == [False, False, True]
    assert found.rival.tolist() == [-1, -1, 1]
    assert listed(found) == [name(0), name(1), name(2)]


def test_a_chain_between_the_sides_is_cut_at_its_least_similar_pair() -> None:
    """Train 0 ~ 2 ~ 3 ~ 4 ~ 1 validation, all three new: one is enough, the younger of the pair."""
    pairs = {(0, 2): 0.97, (2, 3): 0.96, (3, 4): 0.91, (1, 4): 0.98}
    found = run(5, pairs, [name(0), name(1), NEW, NEW, NEW], [TRAIN, VAL, 0, 0, 0])
    assert found.held.tolist() == [False, False, False, False, True]
    assert found.rival[4] == 3
    assert listed(found)[2:4] == [name(0), name(0)]


def test_who_was_on_a_side_stays_even_if_the_other_file_is_older() -> None:
    pairs = {(1, 2): 0.97, (0, 1): 0.96, (0, 3): 0.91}
    found = run(4, pairs, [NEW, NEW, name(2), name(3)], [0, 0, TRAIN, VAL])
    assert found.held.tolist() == [True, False, False, False]


def test_no_more_are_held_back_than_needed() -> None:
    """Document 3 is like known validation texts: it has to go, and then 4 need not."""
    pairs = {(0, 2): 0.99, (2, 3): 0.98, (1, 4): 0.97, (3, 4): 0.96, (1, 3): 0.91}
    found = run(5, pairs, [name(0), name(1), NEW, NEW, NEW], [TRAIN, VAL, 0, 0, 0])
    assert found.held.tolist() == [False, False, False, True, False]


def test_who_is_only_like_a_document_held_back_is_free() -> None:
    pairs = {(0, 2): 0.97, (1, 2): 0.96, (2, 3): 0.99}
    found = run(4, pairs, [name(0), name(1), NEW, NEW], [TRAIN, VAL, 0, 0])
    assert found.held.tolist() == [False, False, True, False]
    assert listed(found)[3] == name(3)


def test_known_clusters_without_a_side_may_still_become_one() -> None:
    found = run(3, {(0, 2): 0.9, (1, 2): 0.95}, [name(7), name(8), NEW], [NO_SIDE] * 3)
    assert listed(found) == [name(7)] * 3
    found = run(3, {(0, 2): 0.9, (1, 2): 0.95}, [name(7), name(8), NEW], [NO_SIDE, VAL, NO_SIDE])
    assert listed(found) == [name(8)] * 3


def test_of_two_known_on_two_sides_the_younger_is_held_back_and_keeps_its_cluster() -> None:
    found = run(2, {(0, 1): 0.95}, [name(0), name(1)], [VAL, TRAIN])
    assert found.held.tolist() == [False, True]
    assert listed(found) == [name(0), name(1)]


def test_a_text_that_names_a_cluster_comes_back_to_it() -> None:
    """Here a copy of it is on the other side: the one that comes back stays out."""
    found = run(3, {(0, 2): 0.95}, [NEW, name(0), name(9)], [NO_SIDE, VAL, TRAIN])
    assert listed(found) == [name(0), name(0), name(9)]
    assert found.held.tolist() == [True, False, False]


def test_who_was_held_back_is_so_again_and_free_without_the_rival() -> None:
    pairs = {(0, 2): 0.99, (1, 2): 0.91}
    again = run(3, pairs, [name(0), name(1), NEW], [TRAIN, VAL, NO_SIDE])
    assert again.held[2]
    free = run(2, {(0, 1): 0.99}, [name(0), NEW], [TRAIN, NO_SIDE])
    assert listed(free) == [name(0), name(0)]


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[list[int]], dict[tuple[int, int], float]]:
    """Up to 14 documents that arrive in up to four batches, and which are near copies."""
    n = draw(st.integers(2, 14))
    batch = draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))
    all_pairs = list(itertools.combinations(range(n), 2))
    pairs = draw(
        st.dictionaries(
            st.sampled_from(all_pairs), st.sampled_from([0.9, 0.92, 0.95, 0.99]), max_size=20
        )
    )
    return [[i for i in range(n) if batch[i] == number] for number in range(4)], pairs


@given(histories(), st.integers(0, 3), st.integers(0, 3))
def test_no_pair_is_on_two_sides_and_nobody_moves_however_files_arrive(
    history: tuple[list[list[int]], dict[tuple[int, int], float]], salt: int, unsplit: int
) -> None:
    """Numbers are ages, so a batch may bring documents older than known ones.

    In round ``unsplit`` clusters are stored but get no side yet, as in a scan without a prepare.
    """
    batches, pairs = history
    clusters: dict[int, bytes] = {}
    sides: dict[bytes, int] = {}
    seen: list[int] = []
    for number, batch in enumerate(batches):
        seen = sorted(seen + batch)
        position = {document: i for i, document in enumerate(seen)}
        known = [clusters.get(document, NEW) for document in seen]
        given_pairs = {p: s for p, s in pairs.items() if p[0] in position and p[1] in position}
        found = assign(
            names([name(document) for document in seen]),
            np.array([[position[i] for i in pair] for pair in given_pairs], int).reshape(-1, 2),
            np.array(list(given_pairs.values())),
            names(known),
            np.array([sides.get(cluster, NO_SIDE) for cluster in known], np.int8),
        )
        new = dict(zip(seen, listed(found), strict=True))
        held = {seen[i] for i in np.flatnonzero(found.held)}
        for document, cluster in clusters.items():
            if cluster in sides:
                assert new[document] == cluster
                assert document not in held
        for one, other in given_pairs:
            if not {one, other} & held:
                side = sides.get(new[one], new[one])
                assert side == sides.get(new[other], new[other])
        for i in np.flatnonzero(found.held):
            pair = tuple(sorted((seen[i], seen[found.rival[i]])))
            assert pair in given_pairs
        assert not held or {TRAIN, VAL} <= set(sides.values())
        clusters = {document: new[document] for document in seen if document not in held}
        for cluster in clusters.values():
            if number != unsplit:
                in_val = xxhash.xxh3_64_intdigest(cluster, seed=salt) % 2
                sides.setdefault(cluster, VAL if in_val else TRAIN)


@given(st.data())
def test_nothing_leaks_from_any_state_even_one_that_should_not_be(data: st.DataObject) -> None:
    """Known near copies on two sides, clusters with no side beside ones with: all of it."""
    n = data.draw(st.integers(1, 10))
    side_of = data.draw(st.lists(st.sampled_from([NO_SIDE, TRAIN, VAL]), min_size=4, max_size=4))
    cluster = data.draw(st.lists(st.integers(-2, 3), min_size=n, max_size=n))
    every = list(itertools.product(range(n), repeat=2))
    every = [(i, j) for i, j in every if i != j]
    chosen = data.draw(st.lists(st.sampled_from(every), max_size=20) if every else st.just([]))
    pairs = {pair: 0.9 + 0.01 * (i % 5) for i, pair in enumerate(chosen)}
    known = [NEW if c < 0 else name(100 + c) for c in cluster]
    sides = [NO_SIDE if c < 0 else side_of[c] for c in cluster]
    found = run(n, pairs, known, sides)
    new = listed(found)
    final = {name(100 + c): side for c, side in enumerate(side_of) if side and c in cluster}
    for one, other in pairs:
        if not found.held[one] and not found.held[other]:
            assert final.get(new[one], new[one]) == final.get(new[other], new[other])
    for i in range(n):
        if sides[i]:
            assert new[i] == known[i]
        if found.held[i]:
            rival = int(found.rival[i])
            assert (i, rival) in pairs or (rival, i) in pairs
    assert NEW not in new


def test_a_large_corpus_is_assigned_like_its_components() -> None:
    """Sizes at which a loop over pairs in Python would be felt; equal to `union` where no side is."""
    rng = np.random.default_rng(0)
    n = 200_000
    pairs = rng.integers(0, n, (n // 3, 2))
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    hashes = np.frombuffer(rng.bytes(16 * n), "V16")
    zeros = np.zeros(n, "V16")
    found = assign(hashes, pairs, np.full(len(pairs), 0.9), zeros, np.zeros(n, np.int8))
    assert np.array_equal(found.clusters, hashes[union(pairs, n)])


def test_the_keeper_has_the_best_score_then_the_shortest_path_then_the_greatest_age() -> None:
    scores = np.array([50, 90, 90, 90, 10])
    lengths = np.array([1, 9, 7, 7, 1])
    assert np.argsort(ranks(scores, lengths)).tolist() == [2, 3, 1, 0, 4]


def keep(
    texts: list[int], labels: list[int], order: list[int], known: dict[tuple[int, int], float],
    asked: dict[tuple[int, int], float] | None = None,
) -> Twins:  # fmt: skip
    def similar(pairs: np.ndarray) -> np.ndarray:
        assert asked is not None, "everything was known"
        return np.array([asked[tuple(sorted(pair))] for pair in pairs.tolist()])

    return keepers(
        np.array(texts, int), np.array(labels, int), np.array(order, int), 0.9, similar,
        pairs=np.array(list(known)).reshape(-1, 2), similarity=np.array(list(known.values())),
    )  # fmt: skip


def test_exact_copies_point_at_the_best_file_of_their_text() -> None:
    twins = keep([0, 1, 0, 0], [0, 1], [3, 1, 0, 2], {})
    assert twins.kind.tolist() == [EXACT, NONE, NONE, EXACT]
    assert twins.duplicate_of.tolist() == [2, -1, -1, 2]
    assert twins.similarity.tolist() == [1, 0, 0, 1]


def test_near_copies_point_at_the_keeper_with_their_true_similarity() -> None:
    """The keeper is not the one that all pairs are known with: it is asked for."""
    known = {(0, 1): 0.95, (0, 2): 0.93}
    twins = keep([0, 1, 2], [0, 0, 0], [2, 0, 1], known, {(1, 2): 0.91})
    assert twins.kind.tolist() == [NEAR, NONE, NEAR]
    assert twins.duplicate_of.tolist() == [1, -1, 1]
    assert twins.similarity.tolist() == [0.95, 0, 0.91]


def test_nothing_is_a_copy_of_a_text_that_it_is_not_like() -> None:
    """A chain 0 ~ 1 ~ 2 ~ 3: 2 is not like 0, so it stays, and 3 is a copy of 2."""
    known = {(0, 1): 0.95, (1, 2): 0.95, (2, 3): 0.92}
    far = {(0, 2): 0.85, (0, 3): 0.7}
    twins = keep([0, 1, 2, 3], [5, 5, 5, 5], [0, 1, 2, 3], known, far)
    assert twins.kind.tolist() == [NONE, NEAR, NONE, NEAR]
    assert twins.duplicate_of.tolist() == [-1, 0, -1, 2]


@given(st.data())
def test_every_copy_is_alike_enough_and_every_cluster_keeps_one(data: st.DataObject) -> None:
    n_texts = data.draw(st.integers(1, 8))
    texts = data.draw(st.lists(st.integers(0, n_texts - 1), min_size=1, max_size=14))
    labels = data.draw(st.lists(st.integers(0, 3), min_size=n_texts, max_size=n_texts))
    order = data.draw(st.permutations(range(len(texts))))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    true = {pair: float(rng.uniform(0.8, 1)) for pair in itertools.combinations(range(n_texts), 2)}
    known = {pair: similarity for pair, similarity in true.items() if rng.random() < 0.5}
    twins = keep(texts, labels, list(order), known, true)
    for i, (kind, of) in enumerate(zip(twins.kind, twins.duplicate_of, strict=True)):
        if kind == NONE:
            assert of == -1
            continue
        assert order[of] < order[i], "the better one is kept"
        assert labels[texts[of]] == labels[texts[i]]
        assert (texts[of] == texts[i]) == (kind == EXACT)
        if kind == NEAR:
            assert twins.kind[of] == NONE
            pair = tuple(sorted((texts[of], texts[i])))
            assert twins.similarity[i] == true[pair] >= 0.9
    for label in {labels[text] for text in texts}:
        members = [i for i, text in enumerate(texts) if labels[text] == label]
        assert twins.kind[min(members, key=lambda i: order[i])] == NONE


def test_no_files_have_no_keepers() -> None:
    assert len(keep([], [], [], {}).kind) == 0
