"""Plans are data: what they say is what their digest names, and no secret is in them."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support import plan_of

from runbook import secret
from runbook.change.plan import (
    KNOWN_AFTER_APPLY,
    Change,
    Origin,
    Plan,
    RowSet,
    differences,
    matches,
    plain,
    restrict,
)
from runbook.errors import BadInput, Refused
from studio_sandbox.proofs.redaction import ENCODINGS

EXACT = 2**53 - 1
leaves = (
    st.none()
    | st.booleans()
    | st.integers(-EXACT, EXACT)
    | st.floats(allow_nan=False, allow_infinity=False, min_value=-1e9, max_value=1e9)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
)
keys = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
jsons = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
row_sets = st.builds(RowSet, names, st.just("0" * 64), st.integers(0, 10**6), swapped=st.booleans())
changes = st.builds(Change, names, names, before=jsons, after=jsons, rows=st.none() | row_sets)
origins = st.builds(
    Origin, names, names, names, names, parameters=st.dictionaries(keys, jsons, max_size=3)
)
plans = st.builds(
    Plan,
    title=names | names.map("Undo: {}".format),
    risk=st.sampled_from(["low", "high", "destructive"]),
    changes=st.lists(changes, max_size=3).map(tuple),
    way_back=names,
    warnings=st.lists(names, max_size=2).map(tuple),
    on_failure=st.sampled_from(["stop", "inverse"]),
    undoes=st.booleans(),
    origin=st.none() | origins,
)


def reordered(value: Any) -> Any:
    """The same JSON with the keys of every object the other way round."""
    if isinstance(value, dict):
        return {key: reordered(value[key]) for key in reversed(value)}
    if isinstance(value, list):
        return [reordered(item) for item in value]
    return value


def a_change(**other: Any) -> Change:
    content = {"kind": "k", "target": "t", "before": {"n": 1}, "after": {"n": 2}, **other}
    return Change(**content)


@given(plans)
def test_digest_survives_a_round_trip_through_json(plan: Plan) -> None:
    again = Plan.from_json(json.loads(json.dumps(plan.as_json())))

    assert again == plan
    assert again.digest == plan.digest


@given(plans)
def test_digest_does_not_depend_on_the_order_of_keys(plan: Plan) -> None:
    assert Plan.from_json(reordered(plan.as_json())).digest == plan.digest


@given(plans)
def test_inverse_of_the_inverse_is_the_plan(plan: Plan) -> None:
    again = plan.inverse().inverse()

    assert again == plan
    assert again.digest == plan.digest


@given(changes)
def test_inverse_of_a_change_exchanges_what_is_and_what_is_to_be(change: Change) -> None:
    inverse = change.inverse()

    assert (inverse.before, inverse.after) == (change.after, change.before)


@pytest.mark.parametrize(
    "other",
    [
        {"title": "Another"},
        {"risk": "high"},
        {"way_back": "none."},
        {"warnings": ("Beware.",)},
        {"on_failure": "inverse"},
        {"undoes": True},
        {"changes": ()},
        {"changes": (a_change(target="u"),)},
        {"changes": (a_change(before={"n": 0}),)},
        {"changes": (a_change(after={"n": 3}),)},
        {"changes": (a_change(reversible=False),)},
        {"changes": (a_change(rows=RowSet("rows.jsonl", "0" * 64, 1)),)},
        {"origin": Origin("production", "123456789012", "a-test", "0" * 64, {})},
        {"origin": Origin("sandbox", "999999999999", "a-test", "0" * 64, {})},
        {"origin": Origin("sandbox", "123456789012", "a-test", "1" * 64, {})},
        {"origin": Origin("sandbox", "123456789012", "a-test", "0" * 64, {"at_most": 1})},
    ],
    ids=str,
)
def test_digest_covers_everything_that_a_plan_says(other: dict[str, Any]) -> None:
    plan = plan_of(a_change())

    assert replace(plan, **other).digest != plan.digest


def test_digest_is_that_of_the_canonical_json() -> None:
    plan = Plan("Scale", "low", (a_change(),), way_back="undo.")

    canonical = json.dumps(plan.as_json(), sort_keys=True, separators=(",", ":"))

    assert plan.digest == f"plan-{hashlib.sha256(canonical.encode()).hexdigest()}"
    assert plan.digest.startswith(f"plan-{plan.short}")


def test_plan_and_change_are_frozen() -> None:
    plan = plan_of(a_change())

    with pytest.raises(FrozenInstanceError):
        plan.title = "Other"  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        plan.changes[0].after = {"n": 9}  # type: ignore[misc]


def test_a_plan_keeps_its_digest_when_the_data_it_was_made_from_changes() -> None:
    before, after, parameters = {"n": 1}, {"n": [2]}, {"at_most": 1}
    origin = Origin("sandbox", "123456789012", "a-test", "0" * 64, parameters)
    plan = plan_of(a_change(before=before, after=after), origin=origin)
    digest = plan.digest

    before["n"], parameters["at_most"] = 7, 7
    after["n"].append(7)

    assert plan.digest == digest


@pytest.mark.parametrize(
    ("value", "offender"),
    [
        (datetime(2026, 1, 1, tzinfo=UTC), "datetime"),
        (b"bytes", "bytes"),
        ({1, 2}, "set"),
        (float("nan"), "float nan"),
        (float("inf"), "float inf"),
        ({"deep": [{"deeper": object}]}, "type"),
        (2**53, "9007199254740992"),
        (-(2**60), "-1152921504606846976"),
        (1e20, "1e+20"),
        ({"a": [1e18]}, "1e+18"),
        ({1: "a"}, "key"),
        ({"a": {None: 1}}, "key"),
        ("\ud800", "Unicode"),
        ({"\udfff": 1}, "Unicode"),
        (secret.Secret("", name="EMPTY"), "Secret"),
    ],
    ids=repr,
)
def test_what_is_not_json_is_refused_by_one_sentence_that_names_it(
    value: object, offender: str
) -> None:
    with pytest.raises(BadInput) as refused:
        a_change(after=value)

    assert "t: after: a plan holds plain JSON" in refused.value.message
    assert offender in refused.value.message
    assert "\n" not in refused.value.message


def test_the_largest_exact_integers_are_let_in() -> None:
    assert a_change(after=[EXACT, -EXACT]).after == [EXACT, -EXACT]


@given(jsons)
def test_whatever_a_plan_lets_in_has_a_digest(value: Any) -> None:
    assert plan_of(a_change(after=value)).digest


@given(st.floats())
def test_a_float_is_refused_at_once_or_has_a_digest(value: float) -> None:
    try:
        change = a_change(after=value)
    except BadInput:
        return
    assert plan_of(change).digest


VALUE = 'pa55-"word"-ü-' + secrets.token_hex(8)
DIGITS = str(10**11 + secrets.randbelow(10**11))


@pytest.fixture(autouse=True, scope="module")
def _a_known_secret() -> None:
    secret.remember(VALUE, name="THE_SECRET")
    secret.remember(DIGITS, name="THE_NUMBER")


SECRET_PLACES: dict[str, Callable[[str], object]] = {
    "value": lambda value: a_change(after=value),
    "inside a text": lambda value: a_change(before=f"postgresql://u:{value}@host/db"),
    "list": lambda value: a_change(after=[[1, [value]]]),
    "object": lambda value: a_change(after={"a": {"b": [{"c": value}]}}),
    "key": lambda value: a_change(after={"a": {value: 1}}),
    "kind": lambda value: a_change(kind=value),
    "target": lambda value: a_change(target=f"redis:{value}"),
    "title": lambda value: plan_of(title=f"Set {value}"),
    "warning": lambda value: plan_of(warnings=("fine", f"was {value}")),
    "way back": lambda value: plan_of(way_back=f"set {value} again"),
    "parameter": lambda value: Origin("sandbox", "1", "s", "0", {"dsn": value}),
    "row": lambda value: RowSet.of({}, [{"key": 1, "before": {}, "after": {"x": value}}]),
    "header of rows": lambda value: RowSet.of({"table": value}, []),
}


@pytest.mark.parametrize("place", SECRET_PLACES)
def test_no_secret_value_gets_into_a_plan(place: str) -> None:
    with pytest.raises(BadInput) as refused:
        SECRET_PLACES[place](VALUE)

    assert "THE_SECRET" in refused.value.message
    assert VALUE not in str(refused.value)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_no_encoding_carries_a_secret_into_a_plan(encoding: str) -> None:
    """A task definition's environment may hold a password in base64, and is what plans show."""
    with pytest.raises(BadInput, match="THE_SECRET"):
        a_change(before={"environment": {"TOKEN": ENCODINGS[encoding](VALUE)}})


def test_a_secret_of_digits_does_not_get_in_as_a_number() -> None:
    with pytest.raises(BadInput, match="THE_NUMBER"):
        a_change(after={"pin": int(DIGITS)})


@given(jsons, st.integers(0, 10**6))
def test_a_secret_is_found_wherever_it_is_put(value: Any, seed: int) -> None:
    with pytest.raises(BadInput, match="THE_SECRET"):
        a_change(after=_with(value, VALUE, seed))


def _with(value: Any, planted: str, seed: int) -> Any:
    if isinstance(value, dict) and value and seed % 3:
        key = sorted(value)[seed % len(value)]
        return {**value, key: _with(value[key], planted, seed // 3)}
    if isinstance(value, dict):
        return {**value, planted: 1}
    if isinstance(value, list) and value and seed % 3:
        index = seed % len(value)
        return [*value[:index], _with(value[index], planted, seed // 3), *value[index + 1 :]]
    if isinstance(value, list):
        return [*value, planted]
    return f"{value}{planted}"


def test_rows_that_are_not_json_are_refused_by_one_sentence() -> None:
    with pytest.raises(BadInput, match=r"plain JSON.*datetime"):
        RowSet.of({}, [{"key": 1, "before": datetime(2026, 1, 1, tzinfo=UTC), "after": 1}])
    with pytest.raises(BadInput, match=r"plain JSON.*nan"):
        RowSet.of({}, [{"key": 1, "before": float("nan"), "after": 1}])


def test_rows_are_named_by_the_hash_of_what_is_in_them() -> None:
    one = RowSet.of({"table": "t"}, [{"key": 1, "before": 1, "after": 2}])
    same = RowSet.of({"table": "t"}, [{"key": 1, "before": 1, "after": 2}])
    other = RowSet.of({"table": "t"}, [{"key": 1, "before": 1, "after": 3}])

    assert one.sha256 == same.sha256 != other.sha256
    assert one.count == 1


def test_what_cannot_be_undone_is_named() -> None:
    plan = plan_of(a_change(), a_change(target="gone", reversible=False))

    assert not plan.reversible
    with pytest.raises(Refused, match="gone"):
        plan.inverse()


@given(jsons)
def test_everything_matches_itself_and_a_value_known_after_apply(value: Any) -> None:
    assert matches(value, value)
    assert matches(KNOWN_AFTER_APPLY, value)
    assert differences(value, value) == []


@given(st.dictionaries(keys, jsons, max_size=3), st.dictionaries(keys, jsons, max_size=3))
def test_more_keys_than_planned_are_no_difference(wanted: Any, more: Any) -> None:
    found = {**more, **wanted}

    assert matches(wanted, found)
    assert restrict(found, wanted) == wanted


def test_differences_name_each_value_with_what_was_expected_and_found() -> None:
    wanted = {"count": 4, "image": {"tag": "a", "size": 1}}
    found = {"count": 6, "image": {"tag": "b", "size": 1}}

    assert differences(wanted, found) == [
        "count: expected 4, found 6",
        "image.tag: expected 'a', found 'b'",
    ]


def test_plain_copies_tuples_as_lists() -> None:
    assert plain({"a": (1, 2)}, "here") == {"a": [1, 2]}
