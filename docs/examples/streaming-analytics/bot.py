"""A streaming analytics engine: it learns the fair price of a future, and reports anomalies and drift.

It learns with every quote, once and in order, whatever happens to its processes. So the model is the same as if one
process had seen the whole stream.
"""

from typing import Annotated, Any

import msgspec
from neverblink.worker import Event, InDoubt, Tick, Worker, command

from analytics import Engine, Finding, Quote, summarise
from model import CODEC, Model

SUMMARIES = (100, 1_000)
"""The sliding windows, in quotes."""


class Thresholds(msgspec.Struct, frozen=True):
    """What an operator may change while the engine runs: `neverblink settings anomaly=8`."""

    anomaly: Annotated[float, msgspec.Meta(gt=1)] = 6.0
    """A quote is an anomaly when it is off by so many average errors."""


class Analytics(Worker[Engine]):
    tick = "1s"
    event_type = Quote
    codecs = (CODEC,)
    settings = Thresholds()

    def on_lead(self, in_doubt: tuple[InDoubt, ...]) -> None:
        """After a crash the model is up to five seconds older than the window: it learns what it has missed."""
        behind = self.state.model.value.n
        missed = [quote for quote in self.state.window.values() if quote.n > behind]
        if not missed:
            return
        print(f"the model learns {len(missed)} quotes again, from {missed[0].n} on")
        self.state.unlearned += missed[0].n - behind - 1
        with self.state.model.change() as model:
            for quote in missed:
                self.judge(model, quote)

    def on_events(self, events: list[Event]) -> None:
        with self.state.model.change() as model:
            for event in events:
                quote: Quote = event.data
                if quote.n <= self.state.quotes:
                    # A feed that was killed may publish its last event again.
                    continue
                self.state.take(quote)
                kind, expected = self.judge(model, quote)
                if kind == "anomaly" or kind == "drift":
                    print(f"{kind} at quote {quote.n}: {quote.future:.2f}, expected {expected:.2f}")
                    self.state.report(Finding(quote.n, kind, quote.future, expected))

    def judge(self, model: Model, quote: Quote) -> tuple[str, float]:
        return model.take(quote.n, quote.venues, quote.future, self.settings.anomaly)

    def on_tick(self, tick: Tick[Engine]) -> None:
        quotes = list(self.state.window.values())
        self.state.summaries = {size: summarise(quotes[-size:]) for size in SUMMARIES if quotes}

    @command
    def findings(self, newest: int = 20) -> list[Any]:
        """Show the newest anomalies and drifts."""
        return msgspec.to_builtins(list(self.state.findings.values())[-newest:])

    @command
    def weights(self) -> dict[str, Any]:
        """Show what the model has learned, and up to which quote."""
        model = self.state.model.value
        return {"n": model.n, "error": model.error, **model.weights}


if __name__ == "__main__":
    Analytics.run()  # alone, without a supervisor
