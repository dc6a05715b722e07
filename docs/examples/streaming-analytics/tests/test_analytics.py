"""The engine's tests: time is simulated, the model is real."""

import random
from collections.abc import Iterator

import pytest
from neverblink.worker.testing import Simulation

from analytics import WINDOW, Quote
from bot import Analytics
from model import Model, restore, store


def quotes(first: int, last: int, basis: float = 2.0, spikes: tuple[int, ...] = ()) -> Iterator[Quote]:
    """Quotes whose future follows from the venues. A quote with the same number is the same quote."""
    for n in range(first, last + 1):
        chance = random.Random(n)
        a, b, c = (chance.gauss(0, 3) for _ in "abc")
        future = 0.7 * a + 0.3 * b + basis + chance.gauss(0, 0.3)
        yield Quote(n, n, a, b, c, future + (20 if n in spikes else 0))


def learned(stream: Iterator[Quote]) -> Model:
    """The model of one process that has seen the whole stream."""
    model = Model()
    for quote in stream:
        model.take(quote.n, quote.venues, quote.future, 6.0)
    return model


def same(model: Model, other: Model) -> bool:
    return (model.n, model.error, model.weights) == (other.n, other.error, other.weights)


def test_it_learns_the_weights_and_reports_spikes_once() -> None:
    with Simulation(Analytics) as run:
        run.publish("quotes", *quotes(1, 1_000, spikes=(500, 700)))
        weights = run.send("weights")
        assert weights["a"] > weights["b"] > 0.2
        assert [(finding["n"], finding["kind"]) for finding in run.send("findings")] == [
            (500, "anomaly"),
            (700, "anomaly"),
        ]


def test_it_reports_drift_when_the_relation_changes_and_learns_the_new_one() -> None:
    with Simulation(Analytics) as run:
        run.publish("quotes", *quotes(1, 1_000))
        run.publish("quotes", *quotes(1_001, 2_000, basis=8))
        found = run.send("findings")
        drifts = [finding["n"] for finding in found if finding["kind"] == "drift"]
        assert len(drifts) == 1
        assert 1_000 < drifts[0] < 1_100
        assert all(finding["n"] <= drifts[0] for finding in found)


def test_the_model_of_a_new_release_is_that_of_one_process() -> None:
    class NewCode(Analytics):
        pass

    with Simulation(Analytics) as run:
        run.publish("quotes", *quotes(1, 300))
        run.hand_over(NewCode)
        run.publish("quotes", *quotes(301, 400))
        assert isinstance(run.leader, NewCode)
        assert same(run.state.model.value, learned(quotes(1, 400)))
        run.roll_back()
        run.publish("quotes", *quotes(401, 500))
        assert same(run.state.model.value, learned(quotes(1, 500)))


def test_after_a_crash_the_model_learns_again_what_was_not_written() -> None:
    with Simulation(Analytics) as run:
        run.stand_by()
        run.publish("quotes", *quotes(1, 400))
        run.crash()
        run.publish("quotes", *quotes(401, 450))
        assert run.state.unlearned == 0
        assert same(run.state.model.value, learned(quotes(1, 450)))


def test_the_window_is_bounded() -> None:
    with Simulation(Analytics) as run:
        run.publish("quotes", *quotes(1, WINDOW + 50))
        assert (len(run.state.window), next(iter(run.state.window))) == (WINDOW, 51)
        run.ticks(1)
        assert run.state.summaries[100].quotes == 100
        assert run.state.summaries[1_000].mean == pytest.approx(2.0, abs=0.5)


def test_what_is_stored_makes_an_equal_model() -> None:
    model = learned(quotes(1, 300))
    twin = restore(store(model))
    assert same(model, twin)
    for each in (model, twin):
        for quote in quotes(301, 600):
            each.take(quote.n, quote.venues, quote.future, 6.0)
    assert same(model, twin)
